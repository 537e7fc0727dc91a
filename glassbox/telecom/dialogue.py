"""Conversations of a customer with an agent, some with turns that switch the language.

Fifteen topics, each a rule `talk_...` of the grammar below; facts (plan, price, error code, site,
ticket) are drawn once and agree with the tables of `facts`. Agents keep to a script more often than
customers do. In one dialogue of seven the customer mixes English with Spanish, German, Hindi in
Latin letters, or Thai.
"""

from collections.abc import Callable

from glassbox.telecom.facts import (
    ERROR_WORDS,
    ERRORS,
    LEVEL_WORDS,
    NAMES,
    OPERATOR,
    OTHER_PLAN_WORDS,
    PLAN_WORDS,
    PLANS,
    SITES,
)
from glassbox.telecom.grammar import Rules, Writer, rules

TOPICS: tuple[str, ...] = (
    "fault", "price", "payment", "change_plan", "invoice", "roaming", "top_up", "sim", "move",
    "cancel", "outage", "port_number", "speed", "complaint", "lost_phone",
)  # fmt: skip
LANGUAGES: tuple[str, ...] = ("en", "es", "de", "hi", "th")

GRAMMAR = """
talk_fault
    C: {hi} {complaint}{maybe_urgent}|A: {greet} {sorry} {ask_code}|C: {tell_code}
        |A: {explain} {fix}{end_fault}
    A: {greet} {offer}|C: {complaint} {tell_code}|A: {sorry} {explain} {fix}{end_fault}
    C: {hi} {tell_code}|A: {greet} {explain} {ask_line}|C: {tell_line}|A: {thank} {fix}{end_fault}
end_fault
    {hold}|C: {works}|A: {glad}{close}
    {hold}|C: {fails}|A: {ticket_opened}|C: {ask_when}|A: {when_fixed}{close}
    {hold}|C: {fails}|A: {once_more}|C: {works}|A: {glad}{close}
complaint
    My {device} has not worked since {when}.
    I have no connection since {when}.
    The {device} stopped working {when2}.
    Nothing loads on my {device} since {when}.
    The {device} shows an error, {title}.
    My {device} loses the connection every {5-30} minutes.
    The connection at {site} is gone again.
    Every call is cut off after {2-9} minutes.
    I can call, but I cannot open any page.
    My watch and my {device} do not find the network.
    The alarm system in our house has lost its connection.
    The lamp on the {device} blinks red.
device
    phone
    modem
    router
    tablet
    television box
when
    this morning
    yesterday
    {day}
    last night
    {day} at {hour}
when2
    this morning
    an hour ago
    after the update
    after the storm
    while I was on a call
    on {day}
maybe_urgent
    -
     {urgent}
urgent
    Please help me.
    I need it for work.
    It is urgent.
    My shop cannot take cards without it.
    I have a meeting at {hour}.
    This is the second time this month.
    My mother is ill and must reach me.
    The children have an exam online.
    I wait for a call from the hospital.
    We sell tickets online, so each hour counts.
ask_code 8
    Which error code do you see on the screen?
    Which code do you see?
    Is there a code on the screen?
    Can you read the error code to me?
    What does the app show?
tell_code
    It says {code}.
    I see error {code}.
    The code is {code}.
    Code {code}, {title}.
    The app shows {code}, {title}.
    There is a message with {code} on the screen.
explain 8
    Thank you. The error code {code} means that {cause}.
    {code} means that {cause}.
    Error {code} tells us that {cause}.
    I see {code} here too: {cause}.
    With {code}, {title}, {cause}.
fix 8
    Please {step1}, and then {step2}. I will stay on the line while you try it.
    Please {step1}. Then {step2}.
    First {step1}, then {step2}.
    Could you {step1} and then {step2}?
    Please {step1}. If that does not help, {step2}.
    Two things help here: {step1}, and after that {step2}.
hold
    |C: {wait}|A: {take_time}
    -
    |C: {how}|A: {lead}
wait
    One moment.
    I am doing that now.
    Okay, I will try.
    Done. It takes a while.
take_time 8
    Take your time, I will wait for you on the line.
    Take your time.
    I stay on the line.
    No hurry, I am here.
how
    How do I do that?
    Where do I find that?
    Is that safe for my data?
    I am not good with such things.
    Do I lose my photos then?
lead
    I will guide you: {step1}, nothing else will change.
    It is on the first page of the app under help, and then you {step1}.
    Yes, nothing is lost. Simply {step1}.
works
    {good} Now it works.
    It works again. {thanks}
    {good} The connection is back.
    That was it. {thanks}
fails
    It still does not work.
    No, I still see {code}.
    I did both, and nothing has changed.
    The same message, {code}, comes back.
    It worked for a moment, then it stopped.
    Now the screen is black.
once_more 8
    Please do it once more and {step2}.
    Then let us repeat it: {step1}, and wait for {2-9} minutes.
    I have reset the line from here. Please {step2} again.
ticket_opened 8
    I have opened ticket {ticket} for our team {team}. They will look at it and keep you informed.
    I have opened ticket {ticket} for the team {team}.
    Then our team {team} must look at it. Your ticket is {ticket}.
    I pass this on to {team} with ticket {ticket}.
    A technician from {team} will call you; please keep {ticket} at hand.
ask_when
    When will it be repaired?
    How long does that take?
    How long must I wait?
    And who tells me?
when_fixed 8
    This is a {severity} case. You get an answer within {response}, and it is repaired within
        {repair} at the latest.
    It is a {severity} case: repaired within {repair}, and you hear from us every {update}.
    The team answers within {response} and repairs within {repair}.
    Within {repair}. That is our promise for {severity}.
    At the latest in {repair}. You get a message when it is done.
ask_line 8
    Which line is it?
    May I have your number?
    Which number is affected?
tell_line
    It is {number}.
    My number is {number}.
    {number}, the contract is on {customer}.
    {number}, and I am at {site}.
talk_price
    C: {hi} {ask_price}|A: {greet} {tell_price}{more_price}{close}
    A: {greet} {offer}|C: {ask_price}|A: {tell_price}{more_price}{close}
    C: {hi} {ask_advice}|A: {greet} {ask_need}|C: {need}|A: {advise}{more_price}{close}
ask_price
    How much is {plan}?
    What does the plan {plan} cost?
    What is the price of {plan} per month?
    I saw {plan} in your shop. What does it cost?
    Could you tell me what I pay for {plan}?
tell_price 8
    {plan} costs {price} euros a month with {data}. There is no fee at the beginning.
    {plan} costs {price} euros a month with {data}.
    The plan {plan} is {price} euros a month, with {data}.
    You pay {price} euros a month for {plan}, and you get {data}.
    For {plan} it is {price} euros each month, {data} included.
more_price
    -
    |C: {ask_contract}|A: {tell_contract}
    |C: {ask_speed}|A: {tell_speed}
    |C: {ask_contract}|A: {tell_contract}|C: {take_it}|A: {booked}
    |C: {ask_other}|A: {tell_other}
ask_contract
    How long is the contract?
    Am I bound for long?
    Can I leave when I want?
tell_contract
    The minimum for {plan} is {contract}.
    {plan} runs for {contract} at least.
ask_speed
    And how fast is it?
    What speed do I get?
tell_speed
    {plan} gives up to {speed} Mbit/s.
    Up to {speed} Mbit/s where the network allows it.
ask_other
    And what about {plan2}?
    Is {plan2} cheaper?
    How does {plan2} compare?
tell_other
    {plan2} costs {price2} euros a month with {data2}.
    {plan2} is {price2} euros a month, and you get {data2}.
take_it
    Good, I take it.
    Then I would like to order it.
    That sounds right for me.
    Let me think about it until {day}.
booked 8
    It starts on {day}. You get the contract by mail.
    Done, {plan} is yours from {day}.
    Gladly. I have noted it under {ticket}.
ask_advice
    I am looking for a new plan.
    Which plan fits me?
    I need something with more data.
    We are moving to {site} and need a connection.
    My daughter gets her first phone.
    My parents only want to make calls.
    We open a bakery near {site}.
ask_need
    Gladly. What do you need it for, and how much data do you use?
    How much data do you use?
    What do you need it for?
    Is it for you alone or for a family?
need
    I mostly watch films in the evening.
    Only messages and maps.
    For two children and many video calls.
    About {2-60} GB a month, I think.
    For a small office.
    I play games with friends at night.
    Music on the train, that is all.
    We are four students in one flat.
    For the cameras in our warehouse.
advise
    Then I would take {plan}: {price} euros a month, {data}.
    {plan} fits well. It costs {price} euros a month and has {data}.
    Have a look at {plan}, with {data} for {price} euros a month.
talk_change_plan
    C: {hi} {want_change}|A: {greet} {tell_other} {ask_sure}|C: {sure}|A: {changed}{close}
    C: {hi} {want_change}|A: {greet} {ask_line}|C: {tell_line}|A: {thank} {tell_other} {ask_sure}
        |C: {sure}|A: {changed}{close}
want_change
    I want to change from {plan} to {plan2}.
    Can I move from {plan} to {plan2}?
    {plan} is no longer enough. I would like {plan2}.
    I pay {price} euros for {plan} and do not use it. Is {plan2} possible?
ask_sure
    Shall I change it?
    Is that what you want?
    Shall I start it on {day}?
sure
    {yes} Please do.
    {yes} From {day}, please.
    Yes, if the number stays the same.
changed 8
    I have changed your plan to {plan2}. The new price is {price2} euros a month.
    Done. {plan2} starts on {day}, and your number stays {number}.
    I have changed it. The next invoice shows {price2} euros.
    It is in the system as {ticket}. You keep your number.
talk_invoice
    C: {hi} {bill_problem}|A: {greet} {sorry} {check_bill}{bill_end}{close}
    A: {greet} {offer}|C: {bill_problem}|A: {ask_line}|C: {tell_line}
        |A: {thank} {check_bill}{bill_end}{close}
bill_problem
    My invoice is {amount} euros, but {plan} costs {price} euros.
    I was charged {amount} euros this month. Why?
    There are {amount} euros on the bill that I do not know.
    I paid the invoice twice.
    I have not received the invoice of {month}.
check_bill
    I see {extra} euros for calls abroad on {day}.
    The first month is counted from {day}, so there are {extra} euros more.
    There is a fee of {extra} euros because the payment of {month} came late.
    You are right, {extra} euros were charged by mistake.
    The discount ended in {month}; that makes {extra} euros.
    A game was bought by phone for {extra} euros on {day}.
    Those {extra} euros are for the technician who came on {day}.
bill_end
    |C: {not_fair}|A: {give_back}
    |C: {i_see}|A: {clear}
    |C: {not_fair}|A: {explain_bill}|C: {i_see}|A: {clear}
    |C: {ask_pay}|A: {tell_pay}
not_fair
    I did not know that.
    Nobody told me about it.
    Please take it off.
    That cannot be right.
give_back
    I will give you {extra} euros back with the next invoice.
    I have cancelled the {extra} euros. The reference is {ticket}.
    You get the {extra} euros back within {3-9} days.
explain_bill
    It is on page two of the contract, but I can set a limit of {20-60} euros for you.
    The app shows each call. I have sent you the list.
clear 8
    You are welcome.
    I am happy that it is clear now.
    If anything else looks strange, please write to us.
i_see
    I see. {thanks}
    Ah, that was my trip.
    My son must have done that.
    I had forgotten the technician.
    Okay, that explains it.
ask_pay
    How can I pay it?
    Can I pay in two parts?
    Until when must I pay?
tell_pay
    You can pay in the app or at any bank until {day}.
    Yes, half now and half on the first of next month.
    By card in the app, or in the shop at {site}.
talk_payment
    C: {hi} {pay_problem}|A: {greet} {sorry} {explain} {fix}{end_pay}
    C: {hi} {pay_problem}|A: {greet} {explain} {ask_line}|C: {tell_line}|A: {thank} {fix}{end_pay}
pay_problem
    The app shows {code}, {title}.
    I wanted to pay, and there was error {code}.
    I have got a message about {code}.
    Why does my account say {title}?
    I see {code} instead of my invoice of {month}.
end_pay
    |C: {paid}|A: {clear}{close}
    |C: {fails_pay}|A: {ticket_opened}|C: {ask_when}|A: {when_fixed}{close}
paid
    {good} The message has gone.
    {good} That was it.
    I see the confirmation. {thanks}
    Now the amount is right. {thanks}
fails_pay
    I see {code} again.
    No, nothing changes.
    My bank says that all is well there.
talk_roaming
    C: {hi} {abroad}|A: {greet} {roaming_answer}{roaming_more}{close}
    A: {greet} {offer}|C: {abroad}|A: {roaming_answer}{roaming_more}{close}
abroad
    I travel to {country} on {day}. Does {plan} work there?
    I am in {country} and have no data.
    What do I pay for data in {country}?
    Can I use my {data} in {country}?
roaming_answer
    Please switch on roaming in the app, and restart the phone when you are in {country}.
    {plan} works in {country} when roaming is on. It is off in the app now.
    In {country} you need the travel pack: {5-15} euros for a week with {1-5} GB.
    Without a pack each MB costs money, so please book one before {day}.
roaming_more
    -
    |C: {ask_calls}|A: {tell_calls}
    |C: {please_book}|A: {booked_pack}
    |C: I see {code_roaming} on the phone.|A: That code means that roaming is switched off for
        the line. I have switched it on; please wait ten minutes.
ask_calls
    And calls?
    Can people still call me?
    What about text messages?
tell_calls
    Calls to you are free for the first {10-60} minutes.
    Text messages cost nothing when they come in.
    People can call you, and you pay as shown in the app.
please_book
    Please book the pack for me.
    Then I take it for a week.
    {yes} Please switch it on.
booked_pack
    It is on from {day}. You get a message when 80% is used.
    Done, with reference {ticket}.
talk_top_up
    C: {hi} {balance}|A: {greet} {top_answer}{top_more}{close}
balance
    My balance is gone after {2-9} days.
    I topped up {10-30} euros and it does not show.
    How do I top up {plan}?
    The phone says {code_balance}, no balance.
top_answer
    Send BALANCE to 300 and you see what is left.
    The top up of {day} is booked now. Please restart the phone.
    You can top up in the app, at {site}, or in any kiosk.
    {code_balance} means that the prepaid balance is used up. You can top up in the app.
top_more
    -
    |C: {balance_used}|A: {top_reason}
    |C: {works}|A: {glad}
balance_used
    What used it up?
    I hardly called anybody.
    Where did it go?
top_reason
    An update of {100-900} MB ran outside {plan}. I have blocked that for you.
    The plan {plan} renewed on {day} for {price} euros.
    There were calls to a service number on {day}.
talk_sim
    C: {hi} {sim_new}|A: {greet}{identify} {sim_code}{sim_more}{close}
    C: {hi} {sim_broken}|A: {greet}{identify} {sim_card}{sim_more2}{close}
    C: {hi} {sim_pin}|A: {greet}{identify} {sim_puk}{sim_more}{close}
    C: {hi} The eSIM download stops with {code_esim}.|A: {greet}{identify} The profile was used
        before. Please delete the old profile, and then scan the new code.{sim_more}{close}
sim_new
    I have a new phone and need an eSIM.
    My watch needs an eSIM.
    I bought a tablet. How does it get my number?
sim_code
    I have sent a new code to your mail address. Please scan it within {10-60} minutes.
    The code for the eSIM is in the app now. It can be used once.
sim_broken
    My SIM card is broken.
    The phone does not find the SIM card since {when}.
sim_card
    A new card comes by post on {day}, or you get one in the shop at {site} today.
    I have ordered a new card. The old one ends when you use the new one.
sim_pin
    I entered the wrong PIN three times.
    My child has locked the SIM card.
sim_puk
    The PUK is in the app under security. After that you choose a new PIN.
    I have sent you the PUK as a letter, since it must not be said by phone.
identify
     Please tell me the contract number.|C: It is {contract_id}, and the plan is {plan}.|A: {thank}
     Which number and plan is it?|C: The plan is {plan}, and the number is {number}.|A: {thank}
     What is the code in your app?|C: It is {100-999}. The contract is {contract_id}.|A: {thank}
sim_more
    |C: {works}|A: {glad}
    -
    |C: {how}|A: The app shows each step with a picture.
sim_more2
    |C: Does it cost anything?|A: No, the first one in a year is free. After that it is {4-9} euros.
    -
    |C: Is my number the same?|A: Yes, only the card changes.
talk_move
    C: {hi} {moving}|A: {greet}{move_ask}|A: {move_answer}{move_more}{close}
moving
    I am moving to {site} and want to keep {plan}.
    We move the office to {site}. Can the line move too?
    My new flat is near {site}. Is there fibre?
move_ask
     When do you move?|C: On {day}, in {month}.
     Is there a fibre plug?|C: On the {ordinal} floor there is one, in the hall.
     What is the new address?|C: House {1-90} in {site}, from {day}.
move_answer
    {site} has fibre up to 1000 Mbit/s. A technician comes on {day} at {hour}.
    Then the line moves on {day}. The order is {ticket}.
    There is no free port at {site} yet. I have put you on the list as {ticket}.
move_more
    -
    |C: Must I be at home?|A: Yes, from {hour} for about two hours. Team {team_fibre} calls you
        before.
    |C: What does it cost?|A: The move is free once a year, otherwise {20-50} euros.
talk_cancel
    C: {hi} {want_out}|A: {greet} {ask_why}|C: {why}|A: {cancel_end}{close}
want_out
    I want to end my contract for {plan}.
    Please cancel {number}.
    How do I leave {plan}?
ask_why
    I am sorry to hear that. May I ask why?
    I can do that. What is the reason?
    What could we do better?
why
    It is too expensive. I pay {price} euros.
    I am moving to {country}.
    The connection at {site} is bad.
    I found something with more data.
    My company gives me a phone.
    I waited {3-9} weeks for a repair.
    My neighbour shares his line with me.
cancel_end
    {keep}|C: No, please end it.|A: It is done. The last day is {day}, the reference {ticket}.
    {keep}|C: Good, I take it.|A: I have noted it under {ticket}. It starts on {day}.
    {keep}|C: Let me think about it.|A: Of course. I have written down the offer as {ticket}.
    The minimum was {contract}, and the last day is in {month}.|C: {i_wait}|A: You get a letter
        with the date. The reference is {ticket}.
i_wait
    That is fine.
    Could it be earlier?
    Please write that to me.
keep
    I can offer {plan2} for {price2} euros a month instead.
    Would a discount of {2-9} euros for half a year help?
talk_outage
    C: {hi} {all_down}|A: {greet} {outage_known}|C: {ask_when}|A: {when_fixed}{outage_more}{close}
    C: {hi} {all_down}|A: {greet} {outage_unknown}|C: {neighbours}|A: {ticket_opened}
        |C: {ask_when}|A: {when_fixed}{close}
all_down
    The whole street at {site} has no network.
    Nothing works at {site}, not even calls.
    The card readers in the market at {site} are dead.
    Our school at {site} has been offline since {when}.
    Is there a fault at {site}?
    All phones in our office at {site} are dead since {when}.
outage_known
    Yes, we know about it: {cause_site}. Team {site_team} is working on it.
    There is a fault at {site} since {hour}. The ticket is {ticket}.
    Site {site_code} is down because {cause_site}.
outage_unknown
    I see no fault at {site}. Is it the same for your neighbours?
    The site {site_code} looks fine from here. Since when is it?
neighbours
    Yes, the neighbours have it too, since {when}.
    My neighbour with another company is fine. We are not.
    The whole floor has the same, also the dentist below us.
    Even the traffic lights are dark here.
    Since {hour}. Three people here have the same.
outage_more
    -
    |C: Do I get money back?|A: Yes, for each day without service one thirtieth of the price.
    |C: I have a shop here.|A: I can send you a router with mobile data until {day}.
talk_port_number
    C: {hi} {port_wish}|A: {greet} {port_answer}{port_more}{close}
port_wish
    I want to bring my number {number} to you.
    Can I keep my number when I come to {plan}?
    I signed for {plan}, but my old number does not work yet.
port_answer
    Yes. Your old company must free the number, then it takes one working day.
    The number moves on {day}. Until then both cards work.
    I need the code from your old company and the name on that contract, please.
port_more
    |C: Am I without a phone that day?|A: It is off for at most {2-5} hours, in the night to {day}.
    |C: What does it cost?|A: It is free for you.
    |C: The name is {customer}, the code comes by mail.|A: {thank} I have started it. The order is
        {ticket}.
    |C: And if it fails?|A: Then we start again the next day, and you keep the old card.
talk_speed
    C: {hi} {slow}|A: {greet} {sorry}{slow_ask}|A: {slow_answer}{slow_more}{close}
slow
    My connection is slow since {when}.
    I pay for {speed} Mbit/s and get {2-40}.
    Films stop every evening.
    Video calls break off, mostly around {hour}.
slow_ask
     Did you test by cable or without?|C: Without a cable, two rooms away.
     What did the speed test show?|C: It shows {2-40} Mbit/s down and {1-20} up.
     How far are you from the modem?|C: Next to it. The delay is {40-200} ms.
     Did you test by cable or without?|C: By cable I get {20-90} Mbit/s.
     Is it slow in each room?|C: In the kitchen it is fine, in the bedroom nothing loads.
     Is it slow on each device?|C: Yes, it is the same on the laptop and on the tablet.
slow_answer
    The wireless channel is crowded. Please set the channel to automatic.
    Your modem has an old version. I have started the update; it takes {3-9} minutes.
    {plan} gives up to {speed} Mbit/s. The line is fine, so please test once by cable.
    The cell at {site} is full in the evening. We add capacity in {month}.
slow_more
    |C: {wait}|A: {take_time}|C: Now it is {50-99}. {thanks}|A: {glad}
    -
    |C: {still_slow}|A: {ticket_opened}
still_slow
    It is still slow.
    The test shows the same as before.
    No, and the film has stopped again.
talk_complaint
    C: {hi} {angry}|A: {greet} {calm} {ask_case}|C: {case}|A: {case_found}|C: {ask_when}
        |A: {when_fixed}{close}
angry
    This is the {ordinal} time that I call.
    Nobody called me back.
    The technician did not come on {day}.
    I have been waiting since {day}.
    You promised a repair by {day}.
    Each agent tells me something else.
    I have written three letters without an answer.
ordinal
    second
    third
    fourth
calm
    I am sorry, that must not happen.
    I understand that you are upset.
    Thank you for your patience.
ask_case
    Do you have a ticket number?
    What is the number of the case?
case
    It is {ticket}.
    {ticket}, about {code}.
    Somebody gave me {ticket}.
case_found
    {ticket} is with {team}. I have raised it to {severity}.
    I have found it. The cause is known: {cause}.
    The ticket was closed by mistake. I have opened it again.
talk_lost_phone
    C: {hi} {lost}|A: {greet} I will block the line at once.{identify} {lost_done}{lost_more}{close}
lost
    My phone was stolen {when2}.
    I lost my phone near {site}.
    I left the phone in a taxi {when2}. Please block it.
    My bag is gone, and the phone was in it.
    The phone fell into the river {when2}.
lost_done
    The line is blocked since {hour}. Nobody can call with it.
    Done. The card {number} is blocked, reference {ticket}.
lost_more
    |C: Can I keep the number?|A: Yes. The new card has the same number.
    |C: When do I get a new card?|A: On {day} by post, or today in the shop at {site}.
    |C: Can you find the phone?|A: Only the police may ask for that. Please give them reference
        {ticket}.
    |C: Must I pay for calls of the thief?|A: Not for any call after {hour}, when you told us.
hi
    Hello.
    Hi.
    Good morning.
    Good evening.
    Hello, this is {customer}.
    Hi, {customer} here.
greet 8
    Thank you for calling {operator}. My name is {agent}, and this call may be recorded.
    Welcome to {operator}, my name is {agent}.
    Hello, this is {agent}.
    Hello {customer}, {agent} here.
    Good day, you are speaking with {agent} of {operator}.
offer 8
    How can I help you today?
    How can I help you?
    What can I do for you?
    How may I help?
sorry 8
    I am sorry for the trouble, and I will do my best to help you.
    I am sorry about that.
    That is annoying, I am sorry.
    Sorry for the trouble.
    I see.
thank 8
    Thank you.
    Thanks, I have found you.
    Thank you, {customer}.
glad 8
    I am glad to hear that it works again.
    I am glad to hear that.
    Very good.
    Good. I close the case.
    That is good news.
yes
    Yes.
    Okay.
    Yes, of course.
good
    Great.
    Okay.
    Very good.
thanks
    Thank you.
    Thanks.
    Thank you very much.
    Thanks for the quick help.
close 8
    |C: {thanks}|A: {bye}
     {anything}|C: {no_more}|A: {bye}
    |C: {thanks} {bye_customer}
    -
anything 8
    Is there anything else that I can do for you today?
    Is there anything else?
    Can I do anything else for you?
    Was that all?
no_more
    No, that was all. {thanks}
    No. {thanks}
    That is all for today.
bye 8
    You are welcome. Thank you for calling {operator}, and have a nice day.
    Have a nice day.
    You are welcome. Goodbye.
    Thank you for calling {operator}.
    My pleasure, {customer}. Goodbye.
bye_customer
    Goodbye.
    Bye.
    Until next time.
"""

MIXED: dict[str, str] = {
    "es": """
hi
    Hola.
    Buenos días.
    Hola, soy {customer}.
yes
    Sí.
    Claro.
good
    Perfecto.
    Vale, muy bien.
thanks
    Gracias.
    Muchas gracias.
    Mil gracias, very kind.
urgent
    Es urgente, please.
    Necesito internet para trabajar.
    No sé qué hacer.
wait
    Un momento, por favor.
    Espere, I am trying.
bye_customer
    Hasta luego.
    Adiós.
when
    ayer
    esta mañana
    el lunes
ask_when
    ¿Cuándo va a funcionar?
    ¿Cuánto tiempo tarda?
ask_price
    ¿Cuánto cuesta {plan}?
    ¿Qué precio tiene {plan} al mes?
complaint
    Mi {device} no funciona since {when}.
    No tengo señal desde {when}.
    El internet se corta every {5-30} minutes.
no_more
    No, eso es todo. {thanks}
""",
    "de": """
hi
    Hallo.
    Guten Tag.
    Hallo, hier ist {customer}.
yes
    Ja.
    Ja, genau.
good
    Super.
    Sehr gut.
thanks
    Danke.
    Vielen Dank.
    Danke für die schnelle Hilfe.
urgent
    Es ist dringend.
    Ich brauche das Internet für die Arbeit.
    Können Sie mir bitte helfen?
wait
    Moment, bitte.
    Ich versuche es gerade.
bye_customer
    Tschüss.
    Auf Wiederhören.
when
    gestern
    heute Morgen
    Montag
ask_when
    Wann geht es wieder?
    Wie lange dauert das?
ask_price
    Was kostet {plan}?
    Was kostet {plan} im Monat?
complaint
    Mein {device} geht nicht since {when}.
    Ich habe keinen Empfang seit {when}.
    Die Verbindung bricht alle {5-30} minutes ab.
no_more
    Nein, das war alles. {thanks}
""",
    "hi": """
hi
    Namaste.
    Namaste ji.
    Hello ji, main {customer}.
yes
    Haan ji.
    Haan, bilkul.
good
    Theek hai.
    Bahut accha.
thanks
    Dhanyavaad.
    Bahut dhanyavaad.
    Shukriya, madad ke liye.
urgent
    Bahut urgent hai.
    Kaam ke liye internet chahiye.
    Please jaldi kijiye.
wait
    Ek minute rukiye.
    Thoda time dijiye.
bye_customer
    Namaste.
    Phir milenge.
when
    kal
    aaj subah
    kal raat
ask_when
    Kab tak theek hoga?
    Kitna time lagega?
ask_price
    {plan} kitne ka hai?
    {plan} ka monthly price kya hai?
complaint
    Mera {device} nahi chal raha hai, since {when}.
    Network nahi aa raha hai, {when} se.
    Internet har {5-30} minute mein band ho jata hai.
no_more
    Nahi, bas itna hi. {thanks}
""",
    "th": """
hi
    สวัสดี{pp}
yes
    ได้{pp}
    ใช่{pp}
good
    โอเค{pp}
    ดีมาก{pp}
thanks
    ขอบคุณ{pp}
    ขอบคุณมาก{pp}
urgent
    ด่วนมาก{pp}
    ต้องใช้ทำงาน{pp}
    ช่วยหน่อยนะ{pq}
wait
    รอสักครู่นะ{pq}
    กำลังลองอยู่{pp}
bye_customer
    สวัสดี{pp}
when
    เมื่อวาน
    เมื่อเช้านี้
    เมื่อคืน
ask_when
    จะใช้ได้เมื่อไหร่{pq}
    ใช้เวลานานไหม{pq}
ask_price
    {plan} ราคาเท่าไหร่{pq}
    แพ็กเกจ {plan} เดือนละเท่าไหร่{pq}
complaint
    {device} ใช้ไม่ได้ตั้งแต่{when}{pp}
    ไม่มีสัญญาณตั้งแต่{when}{pp}
    เน็ตหลุดทุก {5-30} นาที{pp}
no_more
    ไม่มีแล้ว{pp} {thanks}
""",
}

TABLES = {
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"),
    "month": ("January", "February", "March", "April", "May", "June", "July", "August",
              "September", "October", "November", "December"),
    "hour": tuple(f"{hour:02d}:{minute}" for hour in range(8, 20) for minute in ("00", "30")),
}  # fmt: skip


def _compile(more: str = "") -> Rules:
    """The grammar with the rules of another language in place of the English ones."""
    text = [part.replace("C: ", "Customer: ").replace("A: ", "Agent: ") for part in (GRAMMAR, more)]
    english, other = (rules(part, 4, **TABLES) for part in text)
    return english | {name: rule for name, rule in other.items() if name not in TABLES}


RULES: dict[str, Rules] = {language: _compile(MIXED.get(language, "")) for language in LANGUAGES}
FIXED = {"operator": OPERATOR, "code_roaming": "E118", "code_balance": "E407",
         "code_esim": "E123", "team_fibre": "Fibre Access"}  # fmt: skip
COUNTRIES = ("Spain", "Germany", "India", "Thailand", "Japan", "Brazil", "Kenya", "Norway",
             "Canada", "Morocco", "Vietnam", "Portugal", "Turkey", "Mexico")  # fmt: skip
SITE_FAULTS = tuple(
    {"cause_site": cause, "site_team": team} for cause, team in (
        ("the power is off", "Radio Access"),
        ("a digger cut the fibre", "Fibre Access"),
        ("the link to the site goes up and down", "Transport"),
        ("the base station has lost its time signal", "Transport"),
        ("the antennas are being changed", "Radio Access"),
    )
)  # fmt: skip
MOBILE = tuple(n for n, plan in enumerate(PLANS) if plan.kind != "fibre")
FITTING = {  # the plans that a topic can be about; all of them elsewhere
    "top_up": tuple(n for n, plan in enumerate(PLANS) if plan.kind == "prepaid"),
    "move": tuple(n for n, plan in enumerate(PLANS) if plan.kind in ("fibre", "business")),
    **dict.fromkeys(("roaming", "sim", "port_number", "lost_phone"), MOBILE),
}
ALL_PLANS = tuple(range(len(PLANS)))
BILLING = tuple(n for n, error in enumerate(ERRORS) if error.area == "billing")
TECHNICAL = tuple(n for n, error in enumerate(ERRORS) if error.area != "billing")
LEVELS = {"outage": (0, 2), "complaint": (1, 2)}  # first severity and how many; P3, P4 elsewhere


def dialogue(draw: Callable[[], float]) -> tuple[str, str, str]:
    """Topic, language and text of one dialogue."""
    among = 2 if draw() < 0.65 else len(TOPICS)  # most calls are about faults and prices
    topic = TOPICS[int(draw() * among)]
    language = LANGUAGES[1 + int(draw() * 4)] if draw() < 0.15 else "en"
    site = SITES[int(draw() * len(SITES))]
    plans = FITTING.get(topic, ALL_PLANS)
    plan = plans[int(draw() * len(plans))]
    other = (plan + 1 + int(draw() * (len(PLANS) - 1))) % len(PLANS)
    first, levels = LEVELS.get(topic, (2, 2))
    codes = BILLING if topic == "payment" else TECHNICAL
    number = int(draw() * 1000)
    extra = 2 + int(draw() * 20)
    he = draw() < 0.5
    facts = {
        **FIXED, **ERROR_WORDS[codes[int(draw() * len(codes))]], **PLAN_WORDS[plan],
        **OTHER_PLAN_WORDS[other], **LEVEL_WORDS[first + int(draw() * levels)],
        **SITE_FAULTS[int(draw() * len(SITE_FAULTS))],
        "country": COUNTRIES[int(draw() * len(COUNTRIES))],
        "site": site.name, "site_code": site.code,
        "customer": NAMES[int(draw() * len(NAMES))], "agent": NAMES[int(draw() * len(NAMES))],
        "ticket": f"T{int(draw() * 10000):04d}", "number": f"+44 7700 900{number:03d}",
        "contract_id": f"C{number:03d}", "extra": str(extra),
        "amount": str(PLANS[plan].price + extra),
        "pp": "ครับ" if he else "ค่ะ", "pq": "ครับ" if he else "คะ",  # Thai politeness
    }  # fmt: skip
    if topic in ("outage", "speed"):
        facts["team"] = facts["site_team"]
    return topic, language, Writer(RULES[language], facts, draw)(f"talk_{topic}")
