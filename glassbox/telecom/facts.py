"""The facts of the invented operator Northline: plans, error codes, sites, teams, service levels.

Every document of the generator agrees with these tables, so a text that contradicts them is wrong:
chapters on data plant such errors, labs ask a model for the facts. Nothing here is real. Phone
numbers and addresses come from ranges kept for examples (Ofcom's numbers for drama, RFC 5737,
RFC 3849, example.net, the test network 001 01), so no text holds a living person's data.
"""

from typing import NamedTuple

OPERATOR = "Northline"


class ErrorCode(NamedTuple):
    """A fault as a customer sees it: `cause` completes "it means that", `steps` are imperatives."""

    code: str
    area: str  # mobile, fibre, core or billing
    title: str
    cause: str
    steps: tuple[str, str]
    team: str  # a name in TEAMS


class Plan(NamedTuple):
    """A tariff. `price` in euros a month, `data` in GB a month, `speed` in Mbit/s downstream."""

    name: str
    kind: str  # mobile, prepaid, fibre or business
    price: int
    data: int | None  # None: unlimited
    speed: int
    contract: int  # months; 0: can end every month


class Site(NamedTuple):
    """A place with equipment: base stations, an optical line terminal, or a core site."""

    code: str
    name: str
    region: str


class Team(NamedTuple):
    """Who repairs what, and when somebody is there."""

    name: str
    duty: str
    hours: str


class ServiceLevel(NamedTuple):
    """A promise by severity: minutes to the first answer and between reports, hours to repair."""

    severity: str
    meaning: str
    response_minutes: int
    update_minutes: int
    repair_hours: int


TEAMS: tuple[Team, ...] = (
    Team("Radio Access", "base stations, antennas and cells", "day and night"),
    Team("Fibre Access", "cables, line terminals and modems", "07:00 to 22:00"),
    Team("Core Network", "sessions, authentication and routing", "day and night"),
    Team("Transport", "links between sites and time signals", "day and night"),
    Team("Subscriber Data", "SIM cards, numbers and profiles", "06:00 to 23:00"),
    Team("Billing", "invoices, payments and discounts", "08:00 to 18:00"),
    Team("Customer Care", "questions, contracts and complaints", "07:00 to 22:00"),
    Team("Security", "fraud, abuse and lost devices", "day and night"),
)

ERRORS: tuple[ErrorCode, ...] = (
    ErrorCode("E101", "mobile", "SIM not registered", "the SIM card is not registered",
              ("take the SIM card out and put it back", "restart the phone"), "Subscriber Data"),
    ErrorCode("E107", "mobile", "no signal", "the cell near you is out of service",
              ("switch flight mode on and off", "choose the network by hand"), "Radio Access"),
    ErrorCode("E112", "mobile", "data blocked", "the access point name is wrong",
              ("set the access point name to internet", "restart the phone"), "Core Network"),
    ErrorCode("E118", "mobile", "roaming refused", "roaming is switched off for the line",
              ("switch on roaming in the app", "wait ten minutes"), "Customer Care"),
    ErrorCode("E123", "mobile", "eSIM download failed", "the eSIM profile was used before",
              ("delete the old profile", "scan the new code"), "Subscriber Data"),
    ErrorCode("E129", "mobile", "calls drop", "voice over LTE is switched off",
              ("switch on voice over LTE", "update the phone"), "Radio Access"),
    ErrorCode("E204", "fibre", "no light", "the fibre cable is cut or unplugged",
              ("check the green plug", "look for a red lamp"), "Fibre Access"),
    ErrorCode("E209", "fibre", "weak light", "the fibre plug is dirty or the cable is bent",
              ("straighten the cable", "clean the plug with a dry cloth"), "Fibre Access"),
    ErrorCode("E215", "fibre", "modem not authorised", "the modem is not linked to the contract",
              ("tell us the serial number", "restart the modem"), "Fibre Access"),
    ErrorCode("E221", "fibre", "no address", "the address pool is empty",
              ("unplug the modem for one minute", "connect one device by cable"), "Core Network"),
    ErrorCode("E226", "fibre", "slow wireless", "the wireless channel is crowded",
              ("set the channel to automatic", "move the modem away from the wall"),
              "Customer Care"),
    ErrorCode("E303", "core", "login timeout", "the subscriber database answers too late",
              ("wait five minutes", "restart the device"), "Core Network"),
    ErrorCode("E308", "core", "session refused", "the gateway has no free capacity",
              ("wait ten minutes", "switch mobile data off and on"), "Core Network"),
    ErrorCode("E314", "core", "names not found", "the name server cannot be reached",
              ("set the name server to automatic", "restart the device"), "Core Network"),
    ErrorCode("E319", "core", "link unstable", "the link to the site goes up and down",
              ("note the time of each break", "keep the device switched on"), "Transport"),
    ErrorCode("E325", "core", "clock lost", "the base station has lost its time signal",
              ("move to another place", "switch the phone to 4G"), "Transport"),
    ErrorCode("E402", "billing", "payment declined", "the bank has declined the payment",
              ("check the card number", "pay with another card"), "Billing"),
    ErrorCode("E407", "billing", "no balance", "the prepaid balance is used up",
              ("top up in the app", "send BALANCE to 300"), "Billing"),
    ErrorCode("E413", "billing", "invoice missing", "the invoice went to an old address",
              ("confirm the address", "download the invoice in the app"), "Billing"),
    ErrorCode("E418", "billing", "discount ended", "the discount has ended",
              ("read the date in the contract", "ask for the new offer"), "Customer Care"),
)  # fmt: skip

PLANS: tuple[Plan, ...] = (
    Plan("Mini", "mobile", 9, 3, 50, 0),
    Plan("Basic", "mobile", 14, 10, 100, 12),
    Plan("Smart", "mobile", 19, 25, 300, 12),
    Plan("Family", "mobile", 39, 80, 300, 24),
    Plan("Max", "mobile", 45, None, 500, 24),
    Plan("Student", "mobile", 12, 20, 100, 0),
    Plan("Prepaid S", "prepaid", 7, 2, 50, 0),
    Plan("Prepaid L", "prepaid", 16, 15, 100, 0),
    Plan("Fibre 100", "fibre", 29, None, 100, 12),
    Plan("Fibre 500", "fibre", 35, None, 500, 24),
    Plan("Fibre 1000", "fibre", 49, None, 1000, 24),
    Plan("Office", "business", 79, 200, 1000, 36),
)

SERVICE_LEVELS: tuple[ServiceLevel, ...] = (
    ServiceLevel("P1", "a whole region or an emergency number is down", 15, 30, 4),
    ServiceLevel("P2", "a site or a business customer is down", 30, 60, 8),
    ServiceLevel("P3", "a service is slow or breaks at times", 120, 240, 24),
    ServiceLevel("P4", "one customer has a question or a small fault", 480, 1440, 72),
)

SITES: tuple[Site, ...] = tuple(
    Site(f"{region[0]}{number:02d}", name, region)
    for region, names in {
        "North": "Harbour Street, Old Mill, Lighthouse Road, Fir Hill, Ferry Gate, Stone Bridge",
        "East": "Market Square, Glass Works, River Park, Station Road, Birch Lane, Long Meadow",
        "South": "Airport Ring, Vine Hill, Tower Court, Salt Quay, Chapel Green, Brick Yard",
        "West": "University, Canal Side, Rose Garden, West Gate, Copper Lane, Windmill Field",
    }.items()
    for number, name in enumerate(names.split(", "), 1)
)

NAMES: tuple[str, ...] = (
    "Anna", "Ben", "Carla", "David", "Elena", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kavya",
    "Liam", "Maria", "Nok", "Omar", "Priya", "Quentin", "Rosa", "Somchai", "Tanya", "Uma",
    "Viktor", "Wanda", "Yusuf",
)  # fmt: skip


def error(code: str) -> ErrorCode:
    """The entry of ERRORS with this code, such as "E204"; KeyError if there is none."""
    return {entry.code: entry for entry in ERRORS}[code]


def plan(name: str) -> Plan:
    """The entry of PLANS with this name, such as "Smart"; KeyError if there is none."""
    return {entry.name: entry for entry in PLANS}[name]


def service_level(severity: str) -> ServiceLevel:
    """The entry of SERVICE_LEVELS, "P1" to "P4"; KeyError if there is none."""
    return {entry.severity: entry for entry in SERVICE_LEVELS}[severity]


def volume(of: Plan) -> str:
    """The data volume in words: "25 GB" or "unlimited data"."""
    return "unlimited data" if of.data is None else f"{of.data} GB"


def duration(minutes: int) -> str:
    """Minutes in words: "30 minutes", "4 hours"."""
    return f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"


# What fills the slots of the grammar, by table.
ERROR_WORDS: tuple[dict[str, str], ...] = tuple(
    {"code": e.code, "area": e.area, "title": e.title, "cause": e.cause, "step1": e.steps[0],
     "step2": e.steps[1], "team": e.team,
     "duty": next(team.duty for team in TEAMS if team.name == e.team)} for e in ERRORS
)  # fmt: skip
PLAN_WORDS: tuple[dict[str, str], ...] = tuple(
    {"plan": p.name, "price": str(p.price), "data": volume(p), "speed": str(p.speed),
     "contract": f"{p.contract} months" if p.contract else "one month"} for p in PLANS
)  # fmt: skip
OTHER_PLAN_WORDS: tuple[dict[str, str], ...] = tuple(
    {f"{slot}2": word for slot, word in words.items()} for words in PLAN_WORDS
)
LEVEL_WORDS: tuple[dict[str, str], ...] = tuple(
    {"severity": s.severity, "meaning": s.meaning, "response": duration(s.response_minutes),
     "response_minutes": str(s.response_minutes), "update": duration(s.update_minutes),
     "repair": duration(60 * s.repair_hours)} for s in SERVICE_LEVELS
)  # fmt: skip
