"""Texts that a network operations centre writes and reads: trouble tickets and system logs.

Both are stories with an order: a ticket goes from an alarm to a cause, a repair and a check against
its service level; the lines of a log belong to one event on a few elements, with rising times.
Log lines have the form of RFC 5424. Addresses are those kept for documentation.
"""

from collections.abc import Callable

from glassbox.telecom.facts import (
    ERROR_WORDS,
    ERRORS,
    LEVEL_WORDS,
    NAMES,
    PLAN_WORDS,
    PLANS,
    SERVICE_LEVELS,
    SITES,
    TEAMS,
)
from glassbox.telecom.grammar import Writer, rules

TICKET = """
form
    TICKET {ticket} / {severity} / {state}|Title: {title}|Opened: {date} {time} by {opener}
        |Site: {site_code} {site}, region {region}|Team: {team}|Code: {code}
        |Description: {report}{customer_part}|Log:|{log}|Cause: {^cause}. {cause_note}
        |Repair: {^step1}, then {step2}. {repair_note}|Service level: {level}
    {ticket} [{severity}] {title}, {site} ({site_code})|{report} {impact}
        |{date} {time} {opener} opens the ticket for {team}.|{log}|Result: {state}. {level}
    Ticket: {ticket}|Severity: {severity} ({meaning})|Status: {state}|Element: {element}-{site_code}
        |Summary: {title} at {site} since {time} on {date}.|Impact: {impact}|Analysis: {cause_note}
        {^cause} ({code}).|Actions:|1. {^step1}.|2. {^step2}.|3. {check}.|Owner: {engineer}, {team}
        |{level}
    Customer ticket {ticket}, {severity}, {state}|Plan: {plan} ({price} EUR a month)|Line: {number}
        |Complaint: {report}|Checked by {engineer}: {cause_note} {^cause}, code {code}.
        |Advice given: {step1}; {step2}.|{follow_up}|{level}
state
    closed
    resolved
    open
    in progress
    waiting for parts
    waiting for the customer
opener
    monitoring
    customer care
    {engineer}
    the night shift
    an automatic test
report
    {alarm_count} alarms "{title}" from {element}-{site_code} within {3-59} minutes.
    {customers} customers near {site} report {title}.
    {engineer} sees {title} after the change of {date}.
    The counter for {counter} rose from {1-4}.{0-9}% to {5-48}.{0-9}% at {time}.
    Care has {4-60} calls about {title}; all come from {region}.
    The same fault as in {old_ticket}: {title}.
    A business customer in {site} has no service, with {title} on each device.
    Throughput at {site} fell to {2-40} Mbit/s in the busy hour.
customer_part
    -
     Customers affected: {customers}.
     The caller is at {site} and has plan {plan}.
     The customer expects a call before {time2}.
counter
    dropped calls
    failed handovers
    rejected sessions
    lost packets
    failed logins
    retransmissions
impact
    {customers} customers without service.
    {customers} customers with slow data, calls are fine.
    No impact for customers; the second path carries the traffic.
    Calls drop at {site}; emergency calls go over the neighbour cell.
    Card payments in {2-30} shops fail.
    Television stops for {customers} homes.
log
    {entry1}|{entry2}
    {entry1}|{entry2}|{entry3}
    {entry1}|{entry2}|{entry3}|{entry4}
    {entry1}|{entry3}|{entry4}
entry1
    {time} {engineer} takes the ticket.
    {time} {team}: remote test shows {code}.
    {time} Alarm confirmed on {element}-{site_code}, {ip} answers.
    {time} {element}-{site_code} does not answer at {ip}.
entry2
    {time2} Restarted the process {process}; no change.
    {time2} Power, temperature and fans are normal.
    {time2} Compared with {old_ticket}: same pattern.
    {time2} Moved the traffic to the second link.
    {time2} Optical level -{18-31}.{0-9} dBm, the limit is -27 dBm.
    {time2} Technician on the way to {site}, arrives in {15-90} minutes.
entry3
    {time3} Found it: {cause}.
    {time3} {engineer} changed {part}; the alarm went away.
    {time3} Handed over to {team2}, who run {duty2}.
    {time3} The vendor asks for the log of {process}.
entry4
    {time4} {check}.
    {time4} Customer informed by message.
    {time4} Under watch for {2-24} hours.
    {time4} {alarm_count} new alarms, so the ticket stays open.
part
    the power supply
    a fibre patch
    the optical module
    the line card
    a wrong route
    the cell's power setting
    the licence file
check
    Test call of {2-9} minutes without a break
    Speed test: {50-900} Mbit/s down, {10-90} Mbit/s up
    No alarm for {30-180} minutes
    Counter for {counter} back to 0.{1-9}%
    Customer confirms that it works
cause_note
    The test points to one cause.
    Logs of {element}-{site_code} agree.
    Third case this month.
    Confirmed on site by {engineer}.
    First seen at {time}.
repair_note
    Took {20-240} minutes.
    Done from remote.
    Done on site by {engineer}.
    To be repeated if {code} returns.
follow_up
    Next call on {date} at {time2}.
    No answer to two calls; a message was sent.
    The customer gets one month of {plan} free, {price} EUR.
    Passed to {team2}.
level
    {severity}: answered after {early} min (promise {response_minutes} min), repair due in {repair}.
    {severity} kept: repaired within {repair}, reports every {update}.
    {severity} asks for an answer in {response} and repair in {repair}.
customers
    {2-9}
    {10-99}
    {100-950}
    about {2-9},000
alarm_count
    {2-30}
"""

SYSLOG = """
attach
    {reg}|{auth}{radio}|{pdu}|{upf}
    {reg}|{auth}|{pdu}|{upf}|{dns}|{leave}
    {reg}|{auth_slow}|{retry}|{auth}|{pdu}|{upf}
    {reg}|{auth_fail}|{reject}
    {reg}|{auth}|{pdu_fail}|{retry}|{pdu_fail}|{alarm}
reg
    amf 134 REG [ue imsi="{imsi}" cell="{site_code}-{1-3}"] registration request type=initial
    amf 134 REG [ue imsi="{imsi}" cell="{site_code}-{1-3}"] registration request type=mobility
    mme 134 ATT [ue imsi="{imsi}" cell="{site_code}-{1-3}"] attach request from {ip}
auth
    ausf 134 AUTH [ue imsi="{imsi}"] authentication accepted in {9-90} ms
    hss 134 AIR [ue imsi="{imsi}"] vectors sent count={1-5}
auth_slow
    ausf 132 AUTH [ue imsi="{imsi}"] no answer from udm within {1-4}000 ms
    hss 132 AIR [ue imsi="{imsi}"] database busy, queue={50-900}
auth_fail
    ausf 131 AUTH [ue imsi="{imsi}" code="E303"] login timeout after {2-5} tries
    hss 131 AIR [ue imsi="{imsi}" code="E101"] SIM not registered
reject
    amf 132 REG [ue imsi="{imsi}"] registration reject cause={3-22}
    mme 132 ATT [ue imsi="{imsi}"] attach reject cause={3-22}
retry
    amf 133 REG [ue imsi="{imsi}"] retry {1-3} of 3 in {5-30} s
    smf 133 PDU [ue imsi="{imsi}"] trying next upf
radio
    -
    |gnb 134 HO [cell from="{site_code}-1" to="{site_code}-{2-3}"] handover complete in {20-90} ms
    |gnb 132 HO [cell from="{site_code}-1" to="{site_code}-{2-3}"] handover failed timer=T304
    |enb 134 RRC [cell id="{site_code}-{1-3}"] connection setup rsrp=-{70-118} dBm
pdu
    smf 134 PDU [ue imsi="{imsi}" dnn="internet"] session established ip={ip} id={1-15}
    smf 134 PDU [ue imsi="{imsi}" dnn="ims"] session established ip={ip6} id={1-15}
pdu_fail
    smf 131 PDU [ue imsi="{imsi}" code="E308"] session refused, gateway has no free capacity
    smf 131 PDU [ue imsi="{imsi}" code="E221"] no address, pool {region_low} used 100%
upf
    upf 134 N4 [rule id="{100-999}"] forwarding installed teid=0x{hex}{hex}{hex}{hex}
    upf 134 QOS [flow id="{1-9}"] rate down={speed} Mbit/s plan="{plan}"
dns
    dns 134 QRY client={ip} name=care.northline.example.net answered in {1-40} ms
    dns 131 QRY [code="E314"] names not found, upstream {ip} timed out
leave
    amf 134 REG [ue imsi="{imsi}"] deregistration request type=switch-off
    smf 134 PDU [ue imsi="{imsi}"] session released volume={1-900} MB
link
    {down}|{flap}|{bgp}|{up}
    {down}|{bgp}|{alarm}|{up}|{bgp_up}
    {flap}|{flap}|{flap}|{damp}
    {clock}|{clock2}|{alarm}
down
    router 187 LINK Interface xe-0/0/{0-7} to {site_code} changed state to down
    router 187 LINK Interface xe-0/0/{0-7} loss of signal, light -{28-40} dBm
up
    router 189 LINK Interface xe-0/0/{0-7} to {site_code} changed state to up
    router 189 LINK Interface xe-0/0/{0-7} up for {10-60} s, hold timer ended
flap
    router 188 LINK [code="E319"] link unstable, {3-30} changes in {1-9} minutes
    switch 188 STP port {1-24} topology change from {site_code}
bgp
    router 187 BGP neighbour {ip} down, hold time {90-180} s expired
    router 188 BGP {100-900} routes withdrawn from {ip}
bgp_up
    router 189 BGP neighbour {ip} up, {100-900} routes received
    router 190 BGP graceful restart finished in {1-60} s
damp
    router 188 LINK interface damped for {1-9}00 s, traffic on second path
    router 189 LINK maintenance of {site_code} begins, ticket {ticket}
clock
    ptp 187 SYNC [code="E325"] clock lost, holdover since {1-59} s
    ptp 188 SYNC offset {100-999} ns above limit 100 ns, master {ip}
clock2
    ptp 188 SYNC switched to satellite receiver, {4-12} satellites
    gnb 187 SYNC cell {site_code}-{1-3} phase error {1-9}.{0-9} us
fibre
    {ont}|{optic}|{ont_down}|{alarm}
    {ont}|{dhcp}|{radius}|{rate}
    {radius_fail}|{ont}|{radius}|{dhcp}
    {optic}|{optic}|{ont_down}
ont
    olt 190 ONT port 0/{1-8}/{1-16} modem NL{hex}{hex}{hex}{hex}{hex}{hex} online
    olt 189 ONT port 0/{1-8}/{1-16} ranging complete, distance {1-20}.{0-9} km
optic
    olt 188 OPT [code="E209"] weak light on port 0/{1-8}/{1-16} rx=-{27-31}.{0-9} dBm
    olt 190 OPT port 0/{1-8}/{1-16} rx=-{14-26}.{0-9} dBm tx=2.{0-9} dBm
ont_down
    olt 187 ONT [code="E204"] no light on port 0/{1-8}/{1-16}, dying gasp received
    olt 187 ONT [code="E204"] no light on port 0/{1-8}, {2-32} modems lost
dhcp
    bng 134 DHCP lease {ip} for {3600-3699} s to port 0/{1-8}/{1-16}
    bng 131 DHCP [code="E221"] no address, the address pool is empty
radius
    bng 134 AAA accept user=c{100-999}@northline profile="{plan}" down={speed} Mbit/s
    bng 134 AAA accounting start session={hex}{hex}{hex}{hex}{hex}{hex}
radius_fail
    bng 131 AAA [code="E215"] modem not authorised, serial NL{hex}{hex}{hex}{hex}{hex}{hex}
    bng 132 AAA server {ip} does not answer, try {1-3} of 3
rate
    bng 134 QOS shaper set down={speed} Mbit/s burst={1-9}00 kB
    bng 134 NAT block {ip} ports {1024-1099}-{2000-2099}
charging
    {ccr}|{quota}|{ccr2}|{cdr}
    {ccr}|{ccr_fail}|{stop}
    {cdr}|{cdr}|{bill}
ccr
    ocs 134 CCR [line="{number}"] credit request initial plan="{plan}"
    chf 134 CCR [line="{number}"] charging data request units={10-500} MB
ccr2
    ocs 134 CCR [line="{number}"] credit request update used={10-500} MB
    chf 134 CCR [line="{number}"] update accepted
quota
    ocs 134 QUOTA [line="{number}"] granted {10-500} MB of {data}
    ocs 133 QUOTA [line="{number}"] 80% of {data} used, message sent
ccr_fail
    ocs 132 CCR [line="{number}" code="E407"] no balance
    pay 131 CARD [line="{number}" code="E402"] payment declined by bank
stop
    ocs 134 CCR [line="{number}"] session ended, redirect to top-up page
    smf 133 PDU [line="{number}"] session released on request of ocs
cdr
    mediation 134 CDR file {date}-{100-999}.asn1 {100-999} records, {0-9} rejected
    mediation 132 CDR duplicate record {100-999} dropped
bill
    billing 134 RUN cycle {1-28} invoices={100-999} total={1000-1099} EUR
    billing 131 RUN [code="E413"] invoice missing for line {number}
login
    {ssh}|{sudo}|{change}|{ssh_out}
    {ssh_fail}|{ssh_fail}|{block}
    {ssh}|{change}|{rollback}|{ssh_out}
ssh
    sshd 38 LOGIN accepted publickey for {user} from {ip} port {49152-49199}
    sshd 38 LOGIN session opened for {user}
ssh_fail
    sshd 36 LOGIN failed password for {user} from {ip} port {49152-49199}
    sshd 36 LOGIN invalid user admin from {ip}
block
    firewall 36 DENY source {ip} blocked for {1-9}00 s
    firewall 34 ALERT {20-99} failed logins from {ip}, team Security informed
sudo
    sudo 86 CMD {user} runs show alarms active
    sudo 86 CMD {user} runs systemctl restart {process}
change
    netconf 189 EDIT {user} changed /cells/cell[{1-3}]/power from {30-43} to {30-46} dBm
    netconf 189 EDIT {user} added route 198.51.100.0/24 next-hop {ip}
    netconf 189 EDIT {user} installed version {1-9}.{0-20}.{0-9}
rollback
    netconf 188 ROLLBACK commit not confirmed within {1-9}00 s, old configuration is back
    netconf 189 COMMIT confirmed by {user}, ticket {ticket}
ssh_out
    sshd 38 LOGIN session closed for {user}
    sshd 38 LOGIN {user} disconnected after {10-900} s
resource
    {cpu}|{mem}|{restart}|{health}
    {health}|{cpu}|{scale}|{health}
    {disk}|{rotate}|{health}
cpu
    {process} 132 CPU load {80-99}% for {1-9} minutes
    {process} 134 CPU load {5-60}%
mem
    kernel 3 OOM process {process} killed, rss {1000-1099} MB
    {process} 132 MEM heap {80-99}% of {2-16} GB
restart
    systemd 29 UNIT {process}.service restarted, attempt {1-5}
    systemd 30 UNIT {process}.service started in {100-999} ms
scale
    orchestrator 134 SCALE {process} from {2-4} to {5-8} instances
    orchestrator 132 SCALE no free node for {process} at {site_code}
disk
    kernel 4 DISK /var/log {85-99}% full
    kernel 3 DISK read error on nvme{0-3}n1 sector {1000-1099}
rotate
    logrotate 30 RUN {10-90} files compressed, {1-9} GB freed
    backup 30 RUN snapshot {date} stored in {10-900} s
health
    probe 134 PING {ip} loss {0-9}% delay {1-90} ms
    probe 134 HTTP care.northline.example.net 200 in {20-400} ms
    probe 131 HTTP care.northline.example.net 503 in {20-400} ms
alarm
    fault 185 ALARM [code="{code}" site="{site_code}"] raised {title}, ticket {ticket}
    fault 186 ALARM [code="{code}" site="{site_code}"] {title} seen {2-40} times
"""

SHARED = """
ip
    192.0.2.{1-254}
    198.51.100.{1-254}
    203.0.113.{1-254}
ip6
    2001:db8:{hex}{hex}::{hex}{hex}
imsi
    0010100000{00}{00}{0-9}
user
    op-{engineer_low}
    svc-backup
    netops
"""
STORIES = ("attach", "link", "fibre", "charging", "login", "resource")
TABLES = {
    "hex": tuple("0123456789abcdef"),
    "00": tuple(f"{n:02d}" for n in range(100)),
    "process": ("amf", "smf", "upf", "ocs", "bng", "dns", "mediation", "ptp"),
    "element": ("gNB", "eNB", "OLT", "Router", "BNG", "UPF", "OCS"),
}
TICKET_RULES = rules(SHARED + TICKET, **TABLES)
SYSLOG_RULES = rules(SHARED + SYSLOG, **TABLES)


def _facts(draw: Callable[[], float]) -> dict[str, str]:
    """What a ticket and a log have in common: a code, a site, a plan, people and a date."""
    site = SITES[int(draw() * len(SITES))]
    engineer = NAMES[int(draw() * len(NAMES))]
    return {
        **ERROR_WORDS[int(draw() * len(ERRORS))], **PLAN_WORDS[int(draw() * len(PLANS))],
        "site": site.name, "site_code": site.code, "region": site.region,
        "region_low": site.region.lower(), "engineer": engineer, "engineer_low": engineer.lower(),
        "ticket": f"T{int(draw() * 10000):04d}", "number": f"+44 7700 900{int(draw() * 1000):03d}",
        "date": f"{2023 + int(draw() * 3)}-{1 + int(draw() * 12):02d}-{1 + int(draw() * 28):02d}",
    }  # fmt: skip


def ticket(draw: Callable[[], float]) -> tuple[str, str, str]:
    """Topic (the area of the fault), language and text of one trouble ticket."""
    facts = _facts(draw)
    level = int(draw() * 4)
    other = TEAMS[int(draw() * len(TEAMS))]
    facts |= LEVEL_WORDS[level] | {
        "old_ticket": f"T{int(draw() * 10000):04d}", "team2": other.name, "duty2": other.duty,
        "early": str(1 + int(draw() * SERVICE_LEVELS[level].response_minutes)),
    }  # fmt: skip
    minutes = int(draw() * 600)
    for name in ("time", "time2", "time3", "time4"):
        facts[name] = f"{minutes // 60:02d}:{minutes % 60:02d}"
        minutes += 2 + int(draw() * 90)
    return facts["area"], "en", Writer(TICKET_RULES, facts, draw)("form")


def syslog(draw: Callable[[], float]) -> tuple[str, str, str]:
    """Topic (the kind of event), language and text of one stretch of a system log."""
    facts = _facts(draw)
    say = Writer(SYSLOG_RULES, facts, draw)
    for name in ("imsi", "ip6"):
        facts[name] = say(name)
    topic = STORIES[int(draw() * len(STORIES))]
    lines = [line for _ in range(1 + int(draw() * 3)) for line in say(topic).split("\n")]
    seconds = int(draw() * 80000)
    number = 1 + int(draw() * 3)
    process = {}
    for i, line in enumerate(lines):
        app, priority, message, text = line.split(" ", 3)
        if app not in process:
            process[app] = 100 + int(draw() * 900)
        seconds += int(draw() * 9)
        time = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        data = "" if text[0] == "[" else "- "
        lines[i] = (
            f"<{priority}>1 {facts['date']}T{time}Z {app}{number}.{facts['site_code']} {app} "
            f"{process[app]} {message} {data}{text}"
        )
    return topic, "en", "\n".join(lines)
