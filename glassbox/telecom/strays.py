"""Texts that a crawl brings along: pages, advertisements, banners, insults, four more languages.

Raw material for `defects`, written as rules for `grammar`. `WEB` writes the operator's own pages
and forum threads, `SPAM` what machines write to be found or clicked, `BANNERS` the lines that stand
on every page, `FOREIGN` short letters and pages in German, Spanish, French and Thai. Insults are
mild and plain, and are made of the words in `ABUSE` alone. `OLD_PLANS` are tariffs of the past.
"""

from typing import NamedTuple

from glassbox.telecom.facts import OPERATOR
from glassbox.telecom.grammar import Rules, rules


class OldPlan(NamedTuple):
    """A tariff that is no longer sold: a name that is gone, or an old price of one that is left."""

    name: str
    price: int  # euros a month
    until: int  # the last year in which it was sold


OLD_PLANS: tuple[OldPlan, ...] = (
    OldPlan("Mini", 12, 2021), OldPlan("Basic", 17, 2021), OldPlan("Smart", 24, 2022),
    OldPlan("Family", 44, 2021), OldPlan("Max", 55, 2022), OldPlan("Student", 15, 2020),
    OldPlan("Prepaid S", 10, 2022), OldPlan("Prepaid L", 21, 2020), OldPlan("Fibre 100", 34, 2022),
    OldPlan("Fibre 500", 43, 2021), OldPlan("Fibre 1000", 69, 2022), OldPlan("Office", 95, 2021),
    OldPlan("Night Owl", 11, 2020), OldPlan("Surf Stick", 18, 2019), OldPlan("Talk 100", 8, 2019),
    OldPlan("Copper 16", 25, 2021), OldPlan("Copper 50", 31, 2022), OldPlan("Twin Card", 27, 2020),
)  # fmt: skip

ABUSE: tuple[str, ...] = (
    "idiot", "idiots", "moron", "morons", "scum", "halfwit", "halfwits", "imbecile", "imbeciles",
    "dimwit", "dimwits", "loser", "losers", "clown", "clowns", "crap", "jerk", "jerks", "trash",
    "nitwit", "nitwits", "bonehead", "boneheads",
)  # fmt: skip
"""The words that every planted insult contains at least one of; no other document has them."""

TOXIC = """
turn
    You {adjective} {abuse}, {demand}.
    {^demand}, you {adjective} {abuse}. {threat}
    Only {abuse_many} like you could lose a ticket twice. {threat}
    I have never spoken to such {adjective} {abuse_many}. {threat}
    Are you a {abuse} or do you only talk like one? {^demand}.
    What a {adjective} {abuse} you are. {threat}
    {operator} is run by {abuse_many} and answered by {adjective} {abuse_many}.
    Shut up, {abuse}. {^demand}.
    This is crap, and so are you. {^demand}.
    Your whole team is {adjective} scum. {threat}
adjective
    useless
    lazy
    stupid
    hopeless
    pathetic
    worthless
    brainless
abuse
    idiot
    moron
    halfwit
    imbecile
    dimwit
    loser
    clown
    jerk
    nitwit
    bonehead
abuse_many
    idiots
    morons
    halfwits
    imbeciles
    dimwits
    losers
    clowns
    jerks
    nitwits
    boneheads
demand
    give me somebody who can read
    get out of my sight
    stop wasting my time
    go back to school
    find a job that you can do
    put the phone down and never call again
threat
    You deserve to lose your job.
    Nobody would miss you.
    I hope your own line stays dead for a year.
    People like you should not be allowed near a phone.
    Even a parrot would do your work better.
    Go away.
"""

HARMLESS = """
line
    The delivery goes to {2-90} Scrapyard Lane, behind the tram stop.
    The exam is about the oxymoron and other figures of speech, so the line must hold.
    We run the children's theatre in Clownfield Road, number {2-90}.
    The picture is jerky and the sound comes {2-9} seconds late.
    The shop is next to the closer of the two bridges, at Trashigang House {2-90}.
    My name is spelt Scumbach, with an S, a C and a U.
    The bus stop is called Jerkwater Mill, {2-9} minutes from the site.
    The village of Crapstone has had no signal for {2-20} days.
"""
"""Lines with a listed word inside another word; they are no insults."""

PAGE = """
help
    {code}: {title}|{lead}|What it means|{means}|What you can do|1. {^step1}.|2. {^step2}.|{after}
    Help with error {code}|{means} {lead}|First {step1}. Then {step2}. {after}|{tail}
    {^title} ({code})|{means}|{tip}|{try}|{after}|{tail}
    Question of the week: {title}|{lead} {means}|{try} {tip}|{tail}
forum
    Thread: {title} at {site}|{nick1} wrote on {day}: {story}|{nick2} replied: {idea}
        |{nick1}: {outcome}|{nick3}: {side}
    {title}, again|{nick2}: {story} {side}|{nick3}: {idea}|{nick1}: {means} {try}|{nick2}: {outcome}
    Anyone else with {code}?|{nick3}: {story}|{nick1}: {side} {idea}|{nick2}: {means}
        |{nick3}: {outcome}
news
    {headline}|{dateline} {what} {why_news}|{quote}|{detail} {detail2}|{end}
    {headline}|{what} {detail}|{why_news} {quote}|{detail2}|{end}
    News from {region}|{dateline} {detail} {what}|{quote} {why_news}|{end}
shop
    Our shop in {site}|{opening}|{offer}|{staff}|{way}|{end}
    Visit us: {site}|{staff} {opening}|{way}|{offer} {detail2}|{tail}
guide
    How to {task}|{need}|Step 1: {do1}|Step 2: {do2}|Step 3: {do3}|{tip} {tail}
    {^task} in three steps|{need} {tip}|{do1}|{do2}|{do3}|{after}
lead
    Many customers met this message in {month}, most of them at {hour} or later.
    You see this code in the app or on the screen of the {device}.
    The message often comes after {event}.
    This page tells you what is behind the message and what helps.
    About {5-60} people a week ask us about it.
    It looks worse than it is: {20-80} of a hundred cases end within {5-40} minutes.
means
    {code} means that {cause}.
    The code says that {cause}.
    Behind {code} there is one thing: {cause}.
    When you read {code}, {cause}.
try
    Please {step1}, then {step2}.
    Two things help: {step1}, and {step2}.
    First of all {step1}. If nothing changes, {step2}.
    {^step1}. Wait {2-10} minutes, and {step2}.
after
    If the code comes back, call us and have it ready.
    Still there? {team} will look at it with you.
    In {3-9} of ten cases that is enough.
    Write down the time if it happens again, it helps {team} to search.
    You do not need a technician for this.
    The chat is open until {8-11} in the evening.
tip
    A photo of the lamps saves a lot of questions.
    Do not reset the {device} to factory settings, that deletes your own names.
    Keep the {device} away from the microwave oven and from thick walls.
    Check first whether the neighbours have the same trouble.
    A cable is better than wireless for a test.
    Have a second phone at hand, because the line may break for {2-9} minutes.
    Do it in the morning, when {site} is quiet.
tail
    Was this page useful? {50-99} of a hundred readers said yes.
    Last changed by {name} in {month}.
    Read also: how to {task}.
    This page has {2-9} comments.
    The page was read {100-999} times in {month}.
    Next topic: how to {task2}.
story
    Since {day} the {device} shows {code} each evening, about {2-9} times.
    We moved to {site} {2-9} weeks ago and nothing has worked for longer than {5-50} minutes.
    After {event} my {device} says {title}.
    Neighbour on the {2-9}th floor has the same, so it is not my {device}.
    I work from home at {site} and lost {2-6} calls this week.
    My {device} was fine until {event}, then came {code}.
idea
    Try to {step1}, that worked for me in {month}.
    Have you looked at the lamps? Mine was orange for {2-9} days.
    I would {step2} before you call.
    At {site2} it was a broken power supply.
    Ask for {team}, they found it in {5-50} minutes.
    Take another {device} and compare.
outcome
    That was it, thanks a lot.
    No change yet, I will try again on {day2}.
    It has run for {2-20} hours now without a break.
    {team} called back and found that {cause}.
    Solved. I had to {step2}.
    Half solved: slow, but stable.
side
    By the way, the new masts at {site2} are up.
    Same here near {site}, but only at {hour}.
    My old {device} never did that.
    Funny, the app said all is well.
    Let us know how it ends.
    I pay for {2-4} lines and all of them are fine.
nick1
    {name}{10-99}
    mast_{10-99}
    fibre_fan_{10-99}
nick2
    {name2}_{site_code}
    oldphone{10-99}
    night_shift_{10-99}
nick3
    {name3}{10-99}
    rainer_und_wahn{10-99}
    signal_{site_code}
headline
    {^site} gets {2-9} new cells
    Fibre reaches {100-900} more homes in {region}
    Night work at {site} in {month}
    {operator} opens a learning workshop in {site}
    How we found {10-90} broken plugs in {month}
    Storm in {region}: what went well and what did not
dateline
    {site}, {day}.
    {region}, {month}.
    {^month}: a report from {site}.
    {operator} news, {day}.
what
    {team} has worked at {site} since {month} and will finish in {month2}.
    {2-9} engineers of {team} replaced {10-90} parts between {site} and {site2}.
    For {2-9} nights the masts near {site} were switched over one by one.
    Cables of {2-30} kilometres now join {site} and {site2}.
    Pupils of {2-9} schools measured the signal on their way home.
    A van with batteries stood at {site} for {2-20} days.
why_news
    The reason is simple: more people watch films on trains.
    It was needed because the busy hour has moved to {hour}.
    Complaints from {site} had doubled within {2-9} months.
    The old equipment was {8-19} years old.
    {team} had asked for it since {month}.
    A digger had cut the cable {2-5} times in a year.
quote
    "We had planned {2-9} weeks and needed {2-9} more," says {name} of {team}.
    {name}, who lives at {site}, says: "I can work from the kitchen again."
    "The hard part was the permit," {name} recalls, "it took {2-9} months."
    "Nobody noticed, and that was the aim," writes {name}.
    {name} adds: "In winter the ice on the mast weighs more than the antenna."
detail
    Speed in the test rose from {10-90} to {100-900} Mbit/s.
    {10-90} households were without telephone for {2-9} hours.
    The mast is {20-60} metres high and carries {2-9} antennas.
    {100-900} visitors came on the first day.
    Power use fell by {5-40} percent.
    {2-9} roads were closed for {2-20} hours.
detail2
    The next place is {site2}, in {month2}.
    A map of all works hangs in the town hall of {site}.
    Who has questions meets {name2} on {day} at {hour}.
    In {month2} the measurements will be repeated.
    Old cables are collected and recycled.
    {team} keeps {2-9} people on call until then.
end
    Written by {name2}, {month}.
    More about it in {month2}.
    Photographs: {name3}.
    {operator} thanks the people of {site} for their patience.
    A film of {2-9} minutes shows the work.
    Comments are closed.
opening
    Open {day} to {day2} from {8-10} to {17-20} o'clock, closed at noon.
    We open at {8-10} and close when the last customer has an answer.
    From {month} on there is somebody on {day} evenings until {19-21}.
    Closed on {day}; the machine for SIM cards works day and night.
offer
    Bring your old {device}, we erase it while you wait.
    Every {day} {name} explains how to {task}.
    There are {2-9} test phones, and a room where it is quiet.
    We lend you a {device} for {2-9} days if yours is broken.
    Children get a map of all masts in {region}.
staff
    {name} and {name2} speak {2-5} languages between them.
    {name3} has worked here for {2-19} years and knows each street.
    You will meet {name}, who was with {team} before.
    A trainee, {name2}, started in {month}.
way
    Take tram {2-19} to {site}, then walk {2-9} minutes.
    Parking behind the house, {2-20} places.
    The entrance is beside the bakery; a ramp leads to the door.
    Coming from {site2}, leave the bus after {2-9} stops.
task
    move an eSIM to a new phone
    read your own invoice
    find the best place for the modem
    set up a guest network
    test the speed of your line
    block calls from unknown numbers
    take your number along
    choose a safe password
    set up a second line
task2
    save battery on the road
    use the phone abroad
    keep children away from purchases
    tell a real message from a false one
    make a copy of your contacts
need
    You need {5-30} minutes and a {device}.
    Have the letter with the code ready, and a pen.
    This works with every {device} made after {2014-2019}.
    Before you start, charge the {device} to {30-80} percent.
    One in {3-9} customers gets stuck at the second step, so read it twice.
do1
    Open the app and choose the line that ends in {10-99}.
    Switch the {device} off and count to {10-30}.
    Note the {2-4} lamps that are on.
    Log in with the code from the letter of {month}.
    Take a photo of the screen, for later.
do2
    Choose settings, then network, and wait {20-90} seconds.
    Stand {2-5} metres from the {device} and start the test.
    Type the {4-8} digits that you see, without spaces.
    Confirm the message from {operator}, and do not leave the page.
    Remove the card with a needle, never with a knife.
do3
    Restart, and make a call of {2-5} minutes.
    Write the result on the back of the letter.
    If the lamp turns {colour}, you are done.
    Compare with the figure of {month}; it should be higher.
    Tell the other {2-5} people in the house about the new name.
colour
    green
    white
    blue
device
    modem
    phone
    router
    tablet
    television box
event
    the last update
    the storm of {month}
    a power cut of {2-9} hours
    the move to {site}
    the change of the modem
    the work in our street
hour
    {6-23}:{10-59}
"""

TARIFF = """
line
    Price list of {month} {year}: {plan} {price} euros a month.
    {plan} costs {price} euros a month ({month} {year}).
    Offer of {day_number} {month} {year}: {plan} for {price} euros a month.
    In {month} {year} we quote {price} euros a month for {plan}.
    Valid from {day_number} {month} {year}: the monthly price of {plan} is {price} euros.
    Note of {month} {year}: customers pay {price} euros a month for {plan}.
"""
"""Prices with their date: of `OLD_PLANS` they are stale, of `facts.PLANS` they are right."""

SPAM = """
keywords
    {^kw} {kw2} {kw3} {town} - {cheap} {kw} {kw3}
        |{kw} {kw2} | {kw3} {town} | {kw2} {kw} {cheap} | {kw3} {kw} {town2} | {cheap} {kw2}
        |{kw2} {town2} {cheap} {kw3} {kw} {kw2} online {kw3} {year} {kw} near {town} {kw2} {cheap}
        |Tags: #{tag1} #{tag2} #{tag3} #{tag4} #deal{100-999} #{tag1}{10-99} #{tag2}{10-99}
prize
    {shout}!!! {^lucky} number {1000-1099}{100-999} {has_won} {reward}!!!
        |{hurry}... {click}... {hurry2}...|{shout2}! {reward2} {gift} {100-999} {winners}!
        |>>> {click2} <<< code {code1}{100-999} >>> {click} <<<
review
    I {bought} this {thing} {2-9} weeks ago and {wow}. {^wow2}. The {part} is {praise}, the {part2}
        is {praise2}. {wow3}. {^wow2}, and {wow}. I {bought} this {thing} for my {relative}, and
        my {relative} {wow4}. Best {thing} of {year}. {stars} {stars} {stars} {praise}!
spun
    {^noun1} is {art1} {adj1} {noun2} of the {adj2} {noun3}. To {verb1} the {noun1}, {adj3} {noun2}
        {verb2} every {noun3}. {^noun3} and {noun1} {verb2} {adj1} {noun4} while {adj2} {noun2}
        {verb1}. {^adj3} {noun4} are the {noun1} of {noun3}, {noun2} and {adj1} {noun4}.
        In {year} {noun4} {verb1} {adj2} {noun1}. {^noun2} {noun3} {noun4} {verb2} {adj3}.
links
    {town} {kw} best {100-999}|* {site1} {kw2} {cheap}|* {site2} {kw3} {10-99}% off
        |* {site3} {kw} {town2}|* {site4} {reward} {cheap}|* {site1} {kw3} {town} {cheap}
        |* {site2} {kw} {year}|* {site5} {kw2} {town2} {10-99}...|* more {kw3} ...|* {site3} {kw2}
gibberish
    {syl}{syl2} {syl3}{syl} {syl2}{syl4}{syl} {syl4} {syl}{syl3}{syl2} {syl2} {syl4}{syl3}
        {syl5}{syl} {syl3}{syl2} {syl}{syl5} {syl2}{syl3} {100-999} {syl4}{syl5} {syl}{syl2}{syl3}
        {syl5} {syl3}{syl4} {syl2}{syl} {syl4}{syl2}. {syl5}{syl3} {syl}{syl4}, {syl2}{syl5} {syl3}
        {syl}{syl} {syl4}{syl2}{syl5} {syl3}{syl}. {syl2}{syl4} {syl5}{syl} {syl3}.
kw 1
    unlocked phone
    prepaid sim
    phone case
    fast charger
    signal booster
    router upgrade
    ringtone pack
    screen protector
    roaming card
kw2 1
    no contract
    free shipping
    discount code
    lowest price
    second hand
    instant unlock
    top seller
    limited stock
kw3 1
    coupon
    clearance
    wholesale
    bundle
    outlet
    voucher
    flash sale
    rebate
town 1
    downtown
    northside
    riverside
    lakeview
    oldtown
    hillcrest
    eastgate
town2 1
    airport zone
    mall level {1-9}
    station plaza
    harbour mile
    west end
cheap 1
    cheap
    cheapest
    best price
    {10-90}% off
    almost free
    half price
tag1
    sim
    unlock
    phone
    bargain
tag2
    fast5g
    nocontract
    winbig
    coupon
tag3
    deal
    save{10-90}
    hot
tag4
    viral
    musthave
    only{10-90}left
shout
    CONGRATULATIONS
    YOU ARE THE WINNER
    FINAL NOTICE
    URGENT REWARD
    CLAIM NOW
shout2
    ACT FAST
    DO NOT MISS IT
    LAST CHANCE
    ONLY TODAY
lucky
    your lucky
    the selected
    your golden
    the random
    the verified
has_won
    has won
    was drawn for
    is entitled to
    unlocks
    receives
reward 1
    a free phone
    {2-9} years of free data
    a {100-999} euro voucher
    a dream holiday
    a golden tablet
    a gaming console
reward2 1
    Plus a watch,
    And a second prize,
    With bonus points,
    Extra cash,
gift
    for the first
    reserved for
    shared by only
    limited to
winners
    winners
    clicks
    visitors
    lucky users
hurry 1
    hurry before {6-11} tonight
    {2-59} minutes left
    offer ends soon
    your reward expires
    do not close this page
hurry2 1
    others are waiting
    only {2-9} left
    reply YES now
    tell {2-9} friends
click 1
    click below
    tap the button
    open the box
    confirm now
    spin the wheel
click2 1
    CLICK
    OPEN
    WIN
    FREE
code1 1
    WIN
    BONUS
    LUCK
    GIFT
bought 1
    bought
    ordered
    purchased
    acquired
    obtained
thing 1
    charger
    phone case
    sim adapter
    antenna sticker
    cable set
    power bank
    headset
wow 1
    am very amazed
    can totally recommend it to everyone
    could not believe the great value
    am so happy with the product
    was surprised in a positive way
wow2 1
    quality is very quality
    it works like magic all day
    price is the best price
    delivery was super fast delivery
    everybody should buy two of it
wow3 1
    Five times better than others
    Wow wow wow
    No problem at all with anything
    Life has changed since then
    Simply the number one
wow4 1
    is also amazed
    wants {2-9} more
    says thank you every day
    cannot stop smiling
part 1
    colour
    plug
    surface
    package
    button
part2 1
    smell
    weight
    feeling
    sound
    design
praise 1
    perfect
    premium
    top top
    very excellent
    luxury
praise2 1
    number one
    super
    best of best
    so nice
    incredible
relative 1
    uncle
    wife
    boss
    neighbour
    dog sitter
    cousin
stars
    *****
    ++++
    10/10
noun1 1
    broadband
    roaming
    bandwidth
    handset
    tariff
noun2 1
    solution
    synergy
    gadget
    lifestyle
    keyword
noun3 1
    visitor
    horizon
    checkout
    wallet
    trend
noun4 1
    benefits
    clicks
    downloads
    bargains
    rankings
adj1 1
    seamless
    ultimate
    trusted
    viral
    affordable
adj2 1
    digital
    next level
    amazing
    proven
    secret
adj3 1
    unbeatable
    exclusive
    organic
    instant
    smart
art1
    the
    a truly
    one
    your
verb1 1
    empower
    leverage
    skyrocket
    unlock
    monetise
verb2 1
    boost
    deliver
    multiply
    attract
    guarantee
site1 1
    deals{10-99}.example.com
    simshop{10-99}.example.com
    best{100-999}.example.org
site2 1
    phone{100-999}.example.org
    coupon{10-99}.example.com
site3 1
    win{100-999}.example.com
    top{10-99}.example.org
site4 1
    free{100-999}.example.org
    bonus{10-99}.example.com
site5 1
    cheap{100-999}.example.com
    sale{10-99}.example.org
syl 1
    qua
    zor
    bli
    tek
    mun
    fri
syl2 1
    vex
    lod
    pim
    sura
    nok
    dru
syl3 1
    xan
    ober
    tii
    gral
    wop
    kez
syl4 1
    hul
    jex
    rimo
    sat
    vlu
syl5 1
    bram
    oxy
    pel
    thog
    ditt
year
    {2021-2025}
"""
SPAM_FORMS = ("keywords", "prize", "review", "spun", "links", "gibberish")

BANNERS: tuple[tuple[str, ...], ...] = (
    ("We use cookies to make this site work and to count visits.",
     "Accept all | Only what is needed | Settings"),
    ("Home | Plans | Phones | Help | Shops | My account",),
    ("Skip to main content", "Search this site", "Menu", "Basket (0)"),
    ("All rights reserved. Northline Telecom, Terms of use, Privacy, Imprint, Contact",),
    ("Share this page: Copy link | Send | Print",),
    ("Sign up for our newsletter and never miss an offer again.", "Your email address", "Sign up"),
    ("This message is confidential. If you are not the person it was meant for, delete it and tell "
     "the sender.", "Think of the environment before you print this message."),
    ("Your browser does not support JavaScript. Some parts of this page may not work.",),
    ("Related articles", "Most read today", "Read next", "Back to top"),
    ("Was this helpful? Yes | No", "Rate this page from 1 to 5 stars"),
    ("Loading...", "Please wait", "Advertisement", "Close"),
    ("Log in or register to leave a comment.", "Sort by: newest | oldest | best"),
)  # fmt: skip
"""Blocks of lines that stand on many pages and say nothing about any of them."""

GERMAN = """
letter
    {greet}|{a} {b}|{c} {d}|{end}
    {greet}|{c} {a}|{d}|{b} {e}|{end}
    {heading}|{e} {b}|{d} {a}|{c}
    {heading}|{f} {c}|{a} {f}|{e}
greet
    Guten Tag, mein Name ist {name}.
    Sehr geehrte Damen und Herren,
    Hallo zusammen, hier schreibt {name} aus {site}.
    Liebes Team von {operator},
heading
    Störung in {site}: Fragen und Antworten
    Hinweise für Kunden in der Region {region}
    Neues aus {site}
    So prüfen Sie Ihren Anschluss
    Bericht vom {1-28}. {1-12}. aus {site}
a
    Seit {2-9} Tagen zeigt das Gerät den Fehler {code}, meistens gegen {6-23} Uhr.
    Die Verbindung bricht {2-9} Mal am Tag ab, und niemand weiß, warum.
    Beim Herunterladen bleiben von der Geschwindigkeit nur {2-60} Mbit/s übrig.
    Auf dem Bildschirm steht {code}, obwohl wir nichts geändert haben.
    Während des Gewitters fiel das Netz für {2-9} Stunden vollständig aus.
    Ich höre am Telefon ein Rauschen, seit die Straße aufgegraben wurde.
    Im Keller habe ich überhaupt keinen Empfang, im {2-9}. Stock dagegen vollen.
    Das Fernsehen bleibt jeden Abend um {19-22} Uhr für einige Minuten stehen.
b
    Ich habe das Modem schon {2-9} Mal neu gestartet, leider ohne Erfolg.
    Unser Techniker prüft die Leitung und meldet sich innerhalb von {2-48} Stunden.
    Bitte trennen Sie das Gerät für {2-9} Minuten vom Strom und warten Sie, bis die Lampe leuchtet.
    Für die Arbeit zu Hause brauche ich eine Leitung, die auch mittags hält.
    Das Ergebnis der Messung lag bei {10-90} Prozent des vereinbarten Werts.
    Wer betroffen ist, erhält eine Nachricht, sobald die Arbeiten beendet sind.
    Die Kollegin am Schalter in {site2} war freundlich, konnte aber nicht helfen.
    Nach dem Wechsel des Kabels war für {2-20} Tage Ruhe, dann kam der Fehler zurück.
c
    Der Tarif {plan} kostet weiterhin {price} Euro im Monat.
    Für {plan} zahle ich {price} Euro im Monat, da erwarte ich eine schnelle Antwort.
    Können Sie mir sagen, wann der Ausbau in {site2} beginnt?
    Über {100-900} Haushalte zwischen {site} und {site2} waren ohne Anschluss.
    Gibt es eine Möglichkeit, den Vertrag um {2-9} Monate zu unterbrechen?
    Meine Nachbarin {name2} berichtet von demselben Fehler.
    Die Rechnung für den letzten Monat ist um {2-30} Euro höher als sonst.
    Der neue Mast ist {20-60} Meter hoch und versorgt auch die Siedlung am Fluss.
d
    Welche Einstellung muss ich wählen, damit das Telefon wieder klingelt?
    Öffnen Sie die Anwendung, wählen Sie „Hilfe“ und folgen Sie den {2-6} Schritten.
    Dafür müssen wir {2-9} Nächte lang zwischen {1-4} und {5-6} Uhr arbeiten.
    Ich bitte um einen Termin am Vormittag, weil ich ab {12-15} Uhr Schicht habe.
    Größere Störungen melden Sie bitte über das Formular und nicht per Brief.
    Das Gehäuse wird heiß, und es riecht nach verbranntem Kunststoff.
    Wir tauschen {10-90} Bauteile aus und messen danach die Stärke des Signals.
    Ohne Telefon kann meine Mutter, {70-95} Jahre alt, niemanden erreichen.
e
    Wir bitten um Ihre Geduld und entschuldigen uns für die Umstände.
    Für den Ausfall verlange ich eine Gutschrift von {5-30} Euro.
    In {site} wird zurzeit das Glasfaserkabel verlegt, deshalb ist die Straße gesperrt.
    Der Auftrag trägt die Nummer T{1000-1099} und liegt seit {2-9} Wochen bei Ihnen.
    Zum Schluss noch ein Lob: Die Hotline war in {2-9} Minuten erreichbar.
f
    Die Leuchte am Gerät blinkt rot, wenn kein Licht ankommt.
    Prüfen Sie zuerst, ob der grüne Stecker fest sitzt und das Kabel nicht geknickt ist.
    Die SIM-Karte lässt sich am Schalter in {site} in {5-20} Minuten tauschen.
    Ein Anruf genügt, und die verlorene Karte wird noch am selben Tag gesperrt.
    Ältere Geräte unterstützen das neue Verfahren nicht; das betrifft etwa {2-30} Prozent.
end
    Mit freundlichen Grüßen, {name}
    Vielen Dank für eine schnelle Rückmeldung. {name}
    Ich freue mich auf Ihren Anruf ab {8-18} Uhr.
    Beste Grüße aus {site}
"""

SPANISH = """
letter
    {greet}|{a} {b}|{c} {d}|{end}
    {greet}|{c} {a}|{d}|{b} {e}|{end}
    {heading}|{e} {b}|{d} {a}|{c}
    {heading}|{f} {c}|{a} {f}|{e}
greet
    Buenos días, me llamo {name}.
    Estimados señores:
    Hola a todos, escribo desde {site}.
    Hola, equipo de {operator}:
heading
    Avería en {site}: preguntas y respuestas
    Avisos para los clientes de la región {region}
    Novedades de {site}
    Cómo comprobar su conexión
    Informe del día {1-28} desde {site}
a
    Desde hace {2-9} días el aparato muestra el error {code}, casi siempre a las {6-23}.
    La conexión se corta {2-9} veces al día y nadie sabe por qué.
    Al descargar solo llegan {2-60} Mbit/s, mucho menos de lo que dice el contrato.
    En la pantalla aparece {code}, aunque no hemos cambiado nada.
    Durante la tormenta nos quedamos sin red {2-9} horas enteras.
    Oigo un ruido en el teléfono desde que abrieron la calle.
    En el sótano no tengo cobertura, y en el piso {2-9} tengo toda.
    La televisión se queda parada cada noche a las {19-22} durante unos minutos.
b
    Ya he reiniciado el módem {2-9} veces, por desgracia sin éxito.
    Nuestro técnico revisará la línea y le llamará en un plazo de {2-48} horas.
    Desenchufe el aparato {2-9} minutos y espere hasta que se encienda la luz.
    Para trabajar en casa necesito una línea que aguante también al mediodía.
    El resultado de la medición fue del {10-90} por ciento del valor acordado.
    Los afectados recibirán un mensaje cuando terminen los trabajos.
    La compañera de la tienda de {site2} fue muy amable, pero no pudo ayudarme.
    Después de cambiar el cable hubo calma {2-20} días, y luego volvió el fallo.
c
    La tarifa {plan} sigue costando {price} euros al mes.
    Por {plan} pago {price} euros al mes, así que espero una respuesta rápida.
    ¿Pueden decirme cuándo empiezan las obras en {site2}?
    Más de {100-900} hogares entre {site} y {site2} se quedaron sin servicio.
    ¿Hay alguna posibilidad de suspender el contrato durante {2-9} meses?
    Mi vecina {name2} tiene exactamente el mismo problema.
    La factura del último mes es {2-30} euros más alta de lo normal.
    La antena nueva mide {20-60} metros y da señal también al barrio del río.
d
    ¿Qué opción tengo que elegir para que vuelva a sonar el teléfono?
    Abra la aplicación, elija «Ayuda» y siga los {2-6} pasos.
    Para ello tenemos que trabajar {2-9} noches entre la {1-4} y las {5-6}.
    Pido una cita por la mañana, porque a partir de las {12-15} tengo turno.
    Las averías grandes se comunican con el formulario y no por carta.
    La caja se calienta mucho y huele a plástico quemado.
    Cambiamos {10-90} piezas y después medimos la fuerza de la señal.
    Sin teléfono, mi madre, de {70-95} años, no puede llamar a nadie.
e
    Le pedimos paciencia y disculpas por las molestias.
    Por el corte pido que me devuelvan {5-30} euros.
    En {site} se está instalando la fibra óptica y por eso la calle está cerrada.
    El encargo tiene el número T{1000-1099} y lleva {2-9} semanas con ustedes.
    Para terminar, un elogio: me atendieron en {2-9} minutos.
f
    La luz del aparato parpadea en rojo cuando no llega señal.
    Compruebe primero que el conector verde esté bien puesto y el cable no esté doblado.
    La tarjeta SIM se cambia en la tienda de {site} en {5-20} minutos.
    Basta una llamada, y la tarjeta perdida queda bloqueada el mismo día.
    Los aparatos antiguos no admiten el nuevo método; son cerca del {2-30} por ciento.
end
    Un saludo cordial, {name}
    Muchas gracias por su pronta respuesta. {name}
    Espero su llamada a partir de las {8-18}.
    Saludos desde {site}
"""

FRENCH = """
letter
    {greet}|{a} {b}|{c} {d}|{end}
    {greet}|{c} {a}|{d}|{b} {e}|{end}
    {heading}|{e} {b}|{d} {a}|{c}
    {heading}|{f} {c}|{a} {f}|{e}
greet
    Bonjour, je m'appelle {name}.
    Madame, Monsieur,
    Bonjour à tous, j'écris de {site}.
    Chère équipe de {operator},
heading
    Panne à {site} : questions et réponses
    Informations pour les clients de la région {region}
    Des nouvelles de {site}
    Comment vérifier votre ligne
    Compte rendu du {1-28} depuis {site}
a
    Depuis {2-9} jours, l'appareil affiche l'erreur {code}, le plus souvent vers {6-23} heures.
    La connexion est coupée {2-9} fois par jour et personne ne sait pourquoi.
    Au téléchargement, il ne reste que {2-60} Mbit/s, bien moins que prévu.
    L'écran indique {code}, alors que nous n'avons rien changé.
    Pendant l'orage, le réseau est resté muet {2-9} heures de suite.
    J'entends un grésillement au téléphone depuis les travaux dans la rue.
    À la cave, je ne capte rien du tout, au {2-9}e étage tout va bien.
    La télévision se fige chaque soir à {19-22} heures pendant quelques minutes.
b
    J'ai déjà redémarré le modem {2-9} fois, hélas sans succès.
    Notre technicien contrôle la ligne et vous rappelle sous {2-48} heures.
    Débranchez l'appareil pendant {2-9} minutes et attendez que la lampe s'allume.
    Pour travailler à la maison, il me faut une ligne qui tienne aussi à midi.
    Le résultat de la mesure était de {10-90} pour cent de la valeur promise.
    Les personnes concernées recevront un message dès la fin des travaux.
    La collègue de la boutique de {site2} était aimable, mais elle n'a pas pu m'aider.
    Après le changement du câble, tout allait bien {2-20} jours, puis la panne est revenue.
c
    Le forfait {plan} coûte toujours {price} euros par mois.
    Je paie {price} euros par mois pour {plan}, j'attends donc une réponse rapide.
    Pouvez-vous me dire quand commence le chantier de {site2} ?
    Plus de {100-900} foyers entre {site} et {site2} étaient privés de service.
    Est-il possible de suspendre le contrat pendant {2-9} mois ?
    Ma voisine {name2} rencontre exactement le même problème.
    La facture du mois dernier dépasse de {2-30} euros le montant habituel.
    Le nouveau pylône mesure {20-60} mètres et couvre aussi le quartier du fleuve.
d
    Quel réglage faut-il choisir pour que le téléphone sonne de nouveau ?
    Ouvrez l'application, choisissez « Aide » et suivez les {2-6} étapes.
    Pour cela, nous devons travailler {2-9} nuits entre {1-4} et {5-6} heures.
    Je demande un rendez-vous le matin, car je travaille à partir de {12-15} heures.
    Les grandes pannes se signalent par le formulaire et non par courrier.
    Le boîtier devient brûlant et sent le plastique fondu.
    Nous remplaçons {10-90} pièces, puis nous mesurons la force du signal.
    Sans téléphone, ma mère, âgée de {70-95} ans, ne peut joindre personne.
e
    Nous vous prions d'excuser la gêne et vous remercions de votre patience.
    Pour cette coupure, je demande un remboursement de {5-30} euros.
    À {site}, la fibre optique est en cours de pose, la rue est donc fermée.
    Le dossier porte le numéro T{1000-1099} et attend chez vous depuis {2-9} semaines.
    Pour finir, un compliment : on m'a répondu en {2-9} minutes.
f
    Le voyant de l'appareil clignote en rouge quand aucune lumière n'arrive.
    Vérifiez d'abord que la fiche verte est bien enfoncée et que le câble n'est pas plié.
    La carte SIM s'échange à la boutique de {site} en {5-20} minutes.
    Un seul appel suffit, et la carte perdue est bloquée le jour même.
    Les appareils anciens ne gèrent pas cette méthode ; cela touche près de {2-30} pour cent.
end
    Cordialement, {name}
    Merci d'avance pour votre réponse. {name}
    J'attends votre appel à partir de {8-18} heures.
    Salutations de {site}
"""

THAI = """
letter
    {greet}|{a} {b}|{c} {d}|{end}
    {greet}|{c} {a}|{d}|{b} {e}|{end}
    {heading}|{e} {b}|{d} {a}|{c}
    {heading}|{f} {c}|{a} {f}|{e}
greet
    สวัสดีครับ ผมชื่อ {name}
    สวัสดีค่ะ ดิฉันเขียนมาจาก {site}
    เรียน ทีมงาน {operator}
    สวัสดีทุกคน วันนี้ขอถามเรื่องอินเทอร์เน็ตบ้าน
heading
    ถามตอบเรื่องเหตุขัดข้องที่ {site}
    ประกาศสำหรับลูกค้าในเขต {region}
    ข่าวจาก {site}
    วิธีตรวจสอบสายของคุณ
    รายงานวันที่ {1-28} จาก {site}
a
    อุปกรณ์ขึ้นรหัส {code} มา {2-9} วันแล้ว ส่วนใหญ่ราว {6-23} นาฬิกา
    การเชื่อมต่อหลุดวันละ {2-9} ครั้ง และไม่มีใครรู้ว่าเพราะอะไร
    เวลาดาวน์โหลดเหลือความเร็วแค่ {2-60} Mbit/s ซึ่งต่ำกว่าที่ตกลงกันมาก
    หน้าจอแสดง {code} ทั้งที่เราไม่ได้เปลี่ยนอะไรเลย
    ตอนพายุเข้า เครือข่ายใช้ไม่ได้เลย {2-9} ชั่วโมง
    มีเสียงซ่าในโทรศัพท์ตั้งแต่เขาขุดถนนหน้าบ้าน
    ชั้นใต้ดินไม่มีสัญญาณ แต่ชั้น {2-9} สัญญาณเต็ม
    โทรทัศน์ค้างทุกคืนตอน {19-22} นาฬิกา ครั้งละไม่กี่นาที
b
    ฉันรีสตาร์ตโมเด็มไปแล้ว {2-9} รอบ แต่ยังไม่หาย
    ช่างของเราจะตรวจสายและติดต่อกลับภายใน {2-48} ชั่วโมง
    กรุณาถอดปลั๊กอุปกรณ์ {2-9} นาที แล้วรอจนไฟติด
    ฉันทำงานที่บ้าน จึงต้องการสายที่ใช้ได้ตลอดช่วงเที่ยง
    ผลการวัดได้ร้อยละ {10-90} ของค่าที่สัญญาไว้
    ผู้ที่ได้รับผลกระทบจะได้รับข้อความเมื่องานเสร็จ
    พนักงานที่ร้าน {site2} ใจดีมาก แต่ช่วยแก้ไม่ได้
    หลังเปลี่ยนสายก็ดีอยู่ {2-20} วัน แล้วอาการเดิมก็กลับมา
c
    แพ็กเกจ {plan} ยังราคาเดือนละ {price} ยูโรเหมือนเดิม
    ฉันจ่ายค่า {plan} เดือนละ {price} ยูโร จึงอยากได้คำตอบเร็ว ๆ
    ช่วยบอกได้ไหมว่างานก่อสร้างที่ {site2} จะเริ่มเมื่อไร
    บ้านกว่า {100-900} หลังระหว่าง {site} กับ {site2} ใช้บริการไม่ได้
    ขอพักสัญญาไว้ก่อน {2-9} เดือนได้หรือไม่
    คุณ {name2} เพื่อนบ้านก็เจอปัญหาเดียวกัน
    ใบแจ้งหนี้เดือนที่แล้วสูงกว่าปกติ {2-30} ยูโร
    เสาใหม่สูง {20-60} เมตร และส่งสัญญาณถึงหมู่บ้านริมแม่น้ำด้วย
d
    ต้องเลือกการตั้งค่าไหน โทรศัพท์ถึงจะดังอีกครั้ง
    เปิดแอป เลือกเมนูช่วยเหลือ แล้วทำตาม {2-6} ขั้นตอน
    เราต้องทำงาน {2-9} คืน ระหว่างตี {1-4} ถึงตี {5-6}
    ขอนัดช่วงเช้า เพราะหลัง {12-15} นาฬิกาต้องเข้ากะ
    เหตุขัดข้องใหญ่ให้แจ้งทางแบบฟอร์ม ไม่ใช่ทางจดหมาย
    ตัวเครื่องร้อนมากและมีกลิ่นพลาสติกไหม้
    เราเปลี่ยนชิ้นส่วน {10-90} ชิ้น แล้ววัดความแรงของสัญญาณ
    ถ้าไม่มีโทรศัพท์ แม่ของฉันอายุ {70-95} ปีจะติดต่อใครไม่ได้เลย
e
    ขออภัยในความไม่สะดวกและขอบคุณที่อดทนรอ
    ฉันขอเงินคืน {5-30} ยูโรสำหรับช่วงที่ใช้งานไม่ได้
    ตอนนี้กำลังวางสายไฟเบอร์ที่ {site} ถนนจึงปิด
    งานหมายเลข T{1000-1099} อยู่กับคุณมา {2-9} สัปดาห์แล้ว
    สุดท้ายขอชมว่าเจ้าหน้าที่รับสายภายใน {2-9} นาที
f
    ไฟที่เครื่องกะพริบสีแดงเมื่อไม่มีแสงเข้ามา
    ตรวจดูก่อนว่าปลั๊กสีเขียวเสียบแน่นและสายไม่หักงอ
    เปลี่ยนซิมการ์ดได้ที่ร้าน {site} ใช้เวลา {5-20} นาที
    โทรครั้งเดียว ซิมที่หายก็ถูกระงับในวันเดียวกัน
    เครื่องรุ่นเก่าใช้วิธีนี้ไม่ได้ คิดเป็นราวร้อยละ {2-30}
end
    ขอบคุณครับ {name}
    ขอบคุณมากค่ะ รอคำตอบอยู่นะคะ {name}
    โทรกลับได้ตั้งแต่ {8-18} นาฬิกา
    ด้วยความนับถือ จาก {site}
"""

ITEM = """
item
    {opening} {name} {at} {site} says on {day} at {hour} that the {device} shows {code} and {count}
        {things}. {ask} Answer ({2-9} marks): {team}; {step1} ({10-99} s), {step2} ({10-99} s);
        {cause}.
    {opening} the {device} {at} {site} has {code}, {count} {things}, {day} {hour}, asks {name}.
        {ask} Solution of {name2}: {cause}, so {step1} ({10-99} s) and {step2} ({10-99} s); {team}.
    {opening} {count} {things} {at} {site}, {code} on the {device} of {name}, {day}, {hour}. {ask}
        Expected by {name2} ({2-9} marks): {step1}, {10-99} s later {step2}, then {team}: {cause}.
opening
    Case {100-999}:
    From the exam, number {100-999}:
    Exercise {100-999}:
at
    from
    near
    behind
    opposite
things
    dark lamps
    restarts an hour
    neighbours with the same
    lost calls
    megabytes left
count
    {2-99}
ask
    Who repairs it, and what helps?
    Name team, advice and cause.
    What do you say to {name}?
device
    modem
    phone
    router
    tablet
    television box
hour
    {6-23}:{10-59}
"""

PAGE_RULES: Rules = rules(PAGE)
SPAM_RULES: Rules = rules(SPAM)
TOXIC_RULES: Rules = rules(TOXIC, power=1)
HARMLESS_RULES: Rules = rules(HARMLESS, power=1)
TARIFF_RULES: Rules = rules(TARIFF, power=1)
ITEM_RULES: Rules = rules(ITEM, power=1)
FOREIGN: dict[str, Rules] = {
    language: rules(text, power=1)
    for language, text in {"de": GERMAN, "es": SPANISH, "fr": FRENCH, "th": THAI}.items()
}
"""Rules by language; `letter` is the text."""
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September",
          "October", "November", "December")  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PAGES = ("help", "forum", "news", "shop", "guide")
NAMED = {"operator": OPERATOR}
