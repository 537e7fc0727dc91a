"""Longer texts of the operator: policies with numbered rules, and specification-like documents.

Policies quote the service levels, plans and teams of `facts`, and every number in them is the one
in those tables. Specifications describe invented interfaces of the operator, in the manner of
standards ("shall", "should", "may", timers, parameters), and quote no real standard.
"""

from collections.abc import Callable

from glassbox.telecom.facts import (
    ERROR_WORDS,
    ERRORS,
    LEVEL_WORDS,
    OPERATOR,
    OTHER_PLAN_WORDS,
    PLAN_WORDS,
    PLANS,
    SITES,
    TEAMS,
)
from glassbox.telecom.grammar import Writer, rules

POLICY = """
service
    {head}|{aim_service}|{rule_level}|{rule_level2}|{rule_fault}|{rule_people}|{end}
    {head}|{aim_service}|{rule_fault}|{rule_level}|{rule_change}|{end}
    {head}|{aim_service}|{rule_level}|{rule_people}|{rule_change}|{rule_fault}|{end}
tariff
    {head}|{aim_tariff}|{rule_plan}|{rule_plan2}|{rule_pay}|{end}
    {head}|{aim_tariff}|{rule_plan}|{rule_pay}|{rule_leave}|{rule_abroad}|{end}
    {head}|{aim_tariff}|{rule_plan}|{rule_plan2}|{rule_abroad}|{rule_leave}|{rule_pay}|{end}
privacy
    {head}|{aim_privacy}|{rule_identity}|{rule_data}|{rule_keep}|{end}
    {head}|{aim_privacy}|{rule_data}|{rule_keep}|{rule_share}|{rule_people}|{end}
    {head}|{aim_privacy}|{rule_identity}|{rule_share}|{rule_data}|{end}
security
    {head}|{aim_security}|{rule_access}|{rule_change}|{rule_lost}|{end}
    {head}|{aim_security}|{rule_lost}|{rule_identity}|{rule_access}|{rule_people}|{end}
head
    Policy {number}: {title_text}. Version {1-9}.{0-9}, valid from {day} {month} {year}.
    {operator} policy {number}, version {1-9}.{0-9}: {title_text}. In force since {month} {year}.
    {^title_text} (policy {number}, {day} {month} {year}, owner {owner})
aim_service
    This policy says how fast {operator} answers and repairs. It binds all teams.
    It tells what a customer may expect when a service fails, and who is responsible.
    The policy covers mobile, fibre and business services in region {region}.
aim_tariff
    This policy sets prices and volumes. Agents quote these numbers and no others.
    It applies to new contracts from {day} {month} {year}. Older contracts keep their terms.
    Prices are in euros a month and include tax.
aim_privacy
    This policy protects what we know about customers. It applies to every employee and partner.
    Personal data is used for the contract and for nothing else.
    It follows the law of the country in which the customer lives; where the law asks more, it wins.
aim_security
    This policy keeps the network and its customers safe.
    It applies to everyone who can log in to a network element.
    Whoever breaks these rules loses access until {owner} has spoken with the team.
rule_level
    # Severity {severity} means that {meaning}. The first answer comes within {response},
        reports follow every {update}, and the repair is due in {repair}.
    # A case is {severity} if {meaning}. We answer within {response} and repair within {repair}.
    # For {severity} ({meaning}) the limit is {response} to answer and {repair} to repair.
rule_level2
    # If the limit is missed, the duty manager of {owner} is told within {10-30} minutes.
    # Severity may be raised by any agent and lowered only by {owner}.
    # The clock runs day and night, except while we wait for the customer.
    # A case that returns within {2-14} days keeps its number and its severity.
rule_fault
    # Faults with code {code} ({title}) go to {team}. First advice: {step1}, then {step2}.
    # Code {code} means that {cause}. The agent asks the customer to {step1} before anything else.
    # {team} owns code {code}. Its duty is {duty}.
    # No technician is sent for {code} before the customer was asked to {step1}.
rule_people
    # {owner} is reachable {hours}. Its duty: {owner_duty}.
    # Questions go to {owner}, which answers for {owner_duty}.
    # New staff learn this policy in the first {2-6} weeks and are asked about it once a year.
    # Agents speak plainly, admit mistakes and never promise what this policy does not contain.
rule_change
    # Changes at {site} are made between {0-1}:00 and {4-5}:00 and announced {2-10} days before.
    # A change needs a way back that takes at most {10-60} minutes, tested beforehand.
    # Two people agree to every change; one of them is not in the team that makes it.
    # No change is made on the day before a holiday, except to repair a P1 fault.
rule_plan
    # {plan} costs {price} euros a month and contains {data}. The minimum term is {contract}.
    # For {plan} the customer pays {price} euros a month; included: {data} at up to {speed} Mbit/s.
    # The price of {plan} is {price} euros. It offers up to {speed} Mbit/s and {data}.
rule_plan2
    # {plan2} costs {price2} euros a month and contains {data2}.
    # A change from {plan} to {plan2} is free; from then on {price2} euros a month are due.
    # {plan2} is offered for {price2} euros with a minimum term of {contract2}.
rule_pay
    # Invoices are due after {10-30} days. After a first reminder a fee of {2-9} euros is charged.
    # A payment that the bank declines (code E402) may be repeated once within {3-9} days.
    # What was charged by mistake is returned within {3-10} days, without being asked for.
    # An invoice may be questioned for {6-12} weeks. Until it is settled, the line stays open.
rule_leave
    # A contract ends after its minimum term with a notice of one month.
    # The customer keeps the number. It is released within one working day.
    # Who moves to a place without our network may end the contract with {1-3} months' notice.
rule_abroad
    # Roaming is off until the customer switches it on. Code E118 says that it is off.
    # Outside the listed countries data stops at {20-60} euros until the customer agrees to more.
    # A message with prices is sent on arrival in every country.
rule_identity
    # Before account data is named, the agent asks for two of three: password, contract, address.
    # A caller who cannot prove who he is gets general help and no data.
    # A new SIM card is sent only to the address in the contract, or given out against a passport.
rule_data
    # Location data is kept for {3-10} days and seen only by {owner}.
    # Notes in tickets contain no health, faith or card data. Wrong notes are removed.
    # Texts used to train a model are cleaned of names and numbers first.
    # Call records leave the country only if the contract with the receiver names this policy.
rule_keep
    # Call recordings are deleted after {30-90} days, invoices after {6-10} years.
    # Logs are kept for {7-60} days, then only counts remain.
    # When a contract ends, the profile is deleted within {30-90} days.
rule_share
    # The police get data only by written order, which {owner} checks within {1-3} days.
    # Partners see the number and the fault, never the name.
    # A customer may ask what we hold; the answer is due in {14-30} days.
rule_access
    # Access to {site} and other sites is personal. Shared accounts are closed.
    # Passwords have {12-20} characters; a second factor is needed outside the office.
    # Rights end on the day a person leaves the team, and are reviewed every {2-6} months.
    # After {3-8} failed logins the source is blocked for {10-60} minutes.
rule_lost
    # A lost phone is blocked at once, day and night; the customer gets a reference number.
    # A stolen SIM card is blocked within {2-10} minutes of the call.
    # {owner} watches for ten or more cards sent to one address and stops them.
end
    Exceptions are written down and end after {30-90} days.
    Replaces version {1-9} of {year}. Contact: policy@northline.example.net.
    Next review in {month} {year2}.
    Owner: {owner}. Approved on {day} {month} {year}.
"""

SPEC = """
interface
    {title}|1 Scope|{scope}|2 Terms|{terms}|3 Procedure|{procedure}|4 Timers|{timer}|5 Errors
        |{fault}
    {title}|1 Scope|{scope}|2 Procedure|{procedure}|{procedure2}|3 Parameters|{parameters}|4 Errors
        |{fault}
    {title}|1 Scope|{scope}|2 Requirements|{shall1}|{shall2}|{shall3}|3 Timers|{timer}|4 Test
        |{test}
equipment
    {title}|1 Scope|{scope_device}|2 Requirements|{device1}|{device2}|{shall3}|3 Limits|{limits}
        |4 Test|{test}
    {title}|1 Scope|{scope_device}|2 Terms|{terms}|3 Requirements|{device1}|{shall1}|{device2}
        |4 Errors|{fault}
title
    {document} {name} interface, release {1-20}.{0-9}.0
    {document} V{1-20}.{0-9}.{0-9}: {name} requirements
    Northline technical specification {document}, {name}
scope
    The present document specifies the {name} interface between the {node} and the {node2}.
    This document defines messages and timers between {node} and {node2} for {name}.
    It covers {name}. Charging and lawful access are outside its scope.
scope_device
    This document sets minimum requirements for a {thing} used at {site} and similar sites.
    It applies to each {thing} bought after {year}.
    The present document specifies how a {thing} reports and recovers from faults.
terms
    {node}: the function that starts the procedure. {node2}: the function that answers it.
    Idle: no context is stored. Active: a context is stored and its timer runs.
    Context: what the {node2} stores about one user, {20-400} bytes at most.
    Peer: the other end of the interface. Retry: the same message with the same identifier.
procedure
    The {node} shall send the {message} request with the identifier of the user. The {node2} shall
        answer within timer {t1} ({t1_value} s). If no answer comes, the {node} shall repeat the
        request at most {retries} times.
    On receipt of the {message} request the {node2} shall check the subscription. If it is valid,
        the {node2} shall store a context and answer with {message} accept.
    The {message} procedure is started by the {node}. It ends with {message} accept, {message}
        reject, or the expiry of timer {t1}.
    If the {node2} holds a context for the same user, it shall delete the older one before it
        answers the {message} request.
procedure2
    The {node2} may redirect the {node} to another {node2}. The {node} shall follow at most
        {1-3} redirections.
    During handover the {node} should keep the old path for {50-400} ms and then release it.
    While overload lasts, the {node2} should reject {10-50}% of new requests and none of priority
        {0-3}.
    Each {message} request without identifier shall be discarded without answer.
timer
    Timer {t1}: started when {message} is sent, stopped by the answer, value {t1_value} s,
        {retries} retries.
    {t1} is {t1_value} s and {t2} is {50-90} s. {t2} shall be longer than all retries under {t1}.
    On expiry of {t2} both sides shall delete the context and log code {code}.
parameters
    user identifier: mandatory, 15 digits|cell identifier: mandatory, {28-36} bits|priority:
        optional, 0 to 15, default {0-15}
    session: mandatory, 8 bits|rate down: mandatory, kbit/s, {16-32} bits|rate up: optional, kbit/s
    cause: conditional, present in {message} reject, values 1 to {20-99}|delay: optional, ms
shall1
    # The {node} shall serve {100-900} {message} requests a second with {95-99}% below {10-90} ms.
    # The {node} shall accept unknown optional parameters and ignore them.
    # The {node} and the {node2} shall authenticate each other before the first {message}.
    # A restart of the {node} shall not take longer than {20-180} s.
shall2
    # The {node2} shall answer each request exactly once, also after a switch to its standby.
    # Contexts shall survive the loss of one of {2-5} instances.
    # The {node2} should spread users over all {node}s with less than {5-20}% difference.
    # The {node2} may limit one user to {1-15} sessions.
shall3
    # Counters for {message} attempts, accepts and rejects shall be reported every {5-15} minutes.
    # Each reject shall carry a cause and be logged with the time in UTC.
    # The log shall contain no user identifier in clear text.
    # Clocks shall differ from the reference by less than {100-900} ns.
device1
    # The {thing} shall work from -{10-40} to +{45-65} degrees Celsius.
    # The {thing} shall start service within {30-240} s after power returns.
    # After loss of its link the {thing} shall report code {code} ({title_error}) within {1-9} s.
    # The {thing} shall use less than {5-400} W with full load.
device2
    # New software shall be installed without losing service for more than {1-60} s.
    # The {thing} shall keep the last {100-900} log entries over a power cut.
    # The {thing} shall refuse software without a valid signature.
    # The {thing} should be replaced by one person in {10-60} minutes.
limits
    received light: -27 to -8 dBm|delay: at most {1-20} ms|lost packets: less than 0.{1-9}%
    output power: {20-46} dBm|frequency error: less than 0.{01-09} ppm|mass: at most {1-40} kg
    availability: 99.{90-99}%|repair time: {1-8} hours|mean time between faults: {5-30} years
test
    Send {100-900} {message} requests with unknown users. Expected: each is rejected, memory steady.
    Cut the link for {1-60} s under load. Expected: code {code} is logged and traffic returns.
    Run for {12-72} hours at {60-90}% load. Expected: no restart and no lost context.
    Repeat one request {3-9} times. Expected: one context, equal answers.
fault
    Code {code} ({title_error}) shall be reported when {cause}.
    If {cause}, the {node2} shall reject with code {code}; the user is told to {step1}.
    Code {code}: {cause}. Owner: {team}. Recovery: {step1}; {step2}.
"""

SHARED = {
    "month": ("January", "February", "March", "April", "May", "June", "July", "August",
              "September", "October", "November", "December"),
    "day": tuple(str(n) for n in range(1, 29)),
    "01-09": tuple(f"{n:02d}" for n in range(1, 10)),
}  # fmt: skip
OBJECTS = {
    "node": ("access node", "session manager", "subscriber database", "user gateway",
             "policy server", "charging server", "border router", "line terminal"),
    "message": ("attach", "session", "handover", "location", "release", "charging", "paging",
                "registration"),
    "name": ("session control", "subscriber data", "mobility", "charging", "line activation",
             "clock supply", "alarm reporting", "usage records"),
    "thing": ("base station", "modem", "line terminal", "router", "time server", "battery unit",
              "optical splitter", "small cell"),
}  # fmt: skip
TITLES = {
    "service": ("service levels", "repair of faults", "care in large outages", "business support"),
    "tariff": ("prices and volumes", "sale of plans", "contracts and fees", "fair use"),
    "privacy": ("customer data", "keeping and deleting", "identity of callers", "use of records"),
    "security": ("access to the network", "lost and stolen devices", "safe changes", "passwords"),
}
POLICIES = tuple(TITLES)
SPECS = ("interface", "equipment")
POLICY_RULES = rules(POLICY, **SHARED)
SPEC_RULES = rules(SPEC, **SHARED)


def policy(draw: Callable[[], float]) -> tuple[str, str, str]:
    """Topic (service, tariff, privacy or security), language and text of one policy."""
    topic = POLICIES[int(draw() * len(POLICIES))]
    plan = int(draw() * len(PLANS))
    other = (plan + 1 + int(draw() * (len(PLANS) - 1))) % len(PLANS)
    owner = TEAMS[int(draw() * len(TEAMS))]
    site = SITES[int(draw() * len(SITES))]
    year = 2022 + int(draw() * 4)
    facts = {
        **ERROR_WORDS[int(draw() * len(ERRORS))], **PLAN_WORDS[plan], **OTHER_PLAN_WORDS[other],
        **LEVEL_WORDS[int(draw() * len(LEVEL_WORDS))],
        "operator": OPERATOR, "owner": owner.name, "owner_duty": owner.duty, "hours": owner.hours,
        "site": site.name, "region": site.region, "year": str(year), "year2": str(year + 1),
        "number": f"NP-{100 + int(draw() * 900)}",
        "title_text": TITLES[topic][int(draw() * len(TITLES[topic]))],
    }  # fmt: skip
    return topic, "en", _number(Writer(POLICY_RULES, facts, draw)(topic), "")


def spec(draw: Callable[[], float]) -> tuple[str, str, str]:
    """Topic (interface or equipment), language and text of one specification."""
    topic = SPECS[int(draw() * len(SPECS))]
    facts = dict(ERROR_WORDS[int(draw() * len(ERRORS))])
    facts["title_error"] = facts.pop("title")
    nodes = OBJECTS["node"]
    node = int(draw() * len(nodes))
    timer = 10 + int(draw() * 80)
    facts |= {
        "node": nodes[node], "node2": nodes[(node + 1 + int(draw() * 7)) % len(nodes)],
        "site": SITES[int(draw() * len(SITES))].name, "year": str(2022 + int(draw() * 4)),
        "document": f"NTS {100 + int(draw() * 900)}", "t1": f"N{timer}", "t2": f"N{timer + 1}",
        "t1_value": str(1 + int(draw() * 9)), "retries": str(2 + int(draw() * 4)),
        **{slot: OBJECTS[slot][int(draw() * 8)] for slot in ("message", "name", "thing")},
    }  # fmt: skip
    return topic, "en", _number(Writer(SPEC_RULES, facts, draw)(topic), "R")


def _number(text: str, letter: str) -> str:
    """Lines that begin with # are numbered in order."""
    parts = text.split("\n# ")
    return parts[0] + "".join(f"\n{letter}{n}. {part}" for n, part in enumerate(parts[1:], 1))
