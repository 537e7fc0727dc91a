"""From bytes of the web to text: pages without their tags, broken encodings, the language.

`page_text` makes text of HTML, `repaired` undoes UTF-8 that was read as Windows-1252, `languages`
compares character trigrams with `PROFILES`, five languages learned from some thirty sentences each
of our own. All are small on purpose: they show the idea and do well on the course's corpus. For the
open web use trafilatura, ftfy and a language identifier trained on far more.
"""

import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from glassbox.telecom.languages import SENTENCES

# --- pages ---------------------------------------------------------------------------------------

_UNSEEN = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style|template|noscript)\b.*?(?:</\1\s*>|\Z)", re.S | re.I
)
_CELL = re.compile(r"</?t[dh]\b[^<>]*>", re.I)
_BLOCK = re.compile(
    r"</?(?:address|article|aside|blockquote|body|br|d[dlt]|div|fieldset|figure|footer|form|h[1-6r]"
    r"|head|header|html|li|main|nav|ol|option|p|pre|section|table|tbody|tfoot|thead|title|tr|ul)"
    r"\b[^<>]*>",
    re.I,
)
_TAG = re.compile(r"</?[a-z][^<>]*>|<![a-z][^<>]*>|<\?[^<>]*>", re.I)


def page_text(page: str) -> str:
    """What a reader sees of a page: a line for each block, cells of a row on one line.

    Comments, scripts and styles are gone, entities are characters; a lone < or & stays.
    """
    page = _BLOCK.sub("\n", _CELL.sub(" ", _UNSEEN.sub(" ", page)))
    lines = (" ".join(line.split()) for line in html.unescape(_TAG.sub("", page)).splitlines())
    return "\n".join(filter(None, lines))


def has_markup(text: str) -> bool:
    """Whether a tag or an entity stands in the text."""
    return bool(_TAG.search(text) or _UNSEEN.search(text) or re.search(r"&#?\w{2,8};", text))


# --- encodings -----------------------------------------------------------------------------------

_AS_BYTE = {bytes([b]).decode("cp1252", "ignore") or chr(b): b for b in range(128, 256)}
_AS_BYTE |= {chr(b): b for b in range(128, 160)}  # some programs leave these as they are
_Class = dict[str, str]


def _between(low: int, high: int) -> str:
    chars = (char for char, b in _AS_BYTE.items() if low <= b <= high)
    return "[" + "".join(map(re.escape, chars)) + "]"


_NEXT = _between(0x80, 0xBF)
_BROKEN = re.compile(
    f"{_between(0xC2, 0xDF)}{_NEXT}|{_between(0xE0, 0xEF)}{_NEXT}{{2}}"
    f"|{_between(0xF0, 0xF4)}{_NEXT}{{3}}"
)


def repaired(text: str) -> str:
    """The text with each run that is UTF-8 read as Windows-1252 read rightly, up to three times.

    "CafÃ©" becomes "Café", also "CafÃƒÂ©", which went wrong twice. Right text stays as it is, but
    for the rare one that has such a run on purpose.
    """
    for _ in range(3):
        text, n = _BROKEN.subn(_decoded, text)
        if not n:
            break
    return text


def is_broken(text: str) -> bool:
    """Whether the text has a run that `repaired` would change, or a replacement character."""
    return "\ufffd" in text or repaired(text) != text


def _decoded(match: re.Match[str]) -> str:
    try:
        return bytes(_AS_BYTE[char] for char in match[0]).decode("utf-8")
    except UnicodeDecodeError:  # an overlong form or a surrogate
        return match[0]


# --- languages -----------------------------------------------------------------------------------

MORE = {
    "en": """
When does my contract end, and how do I cancel it?
The mast near the harbour was switched off for three hours last night.
We have checked your line and found no fault on our side.
If the light on the router is red, pull the plug and wait for a minute.
Every new customer gets the first two months for half the price.
She told me that the engineer would call, but nobody has called so far.
The alarm was cleared after the power supply had been replaced.
Which of these numbers should be moved to the new contract?
""",
    "de": """
Wann endet mein Vertrag und wie kann ich ihn kündigen?
Der Sendemast am Hafen war gestern Nacht drei Stunden lang abgeschaltet.
Wir haben Ihre Leitung geprüft und auf unserer Seite keinen Fehler gefunden.
Wenn die Lampe am Router rot leuchtet, ziehen Sie den Stecker und warten eine Minute.
Jeder neue Kunde bekommt die ersten zwei Monate zum halben Preis.
Sie sagte mir, dass der Techniker anruft, aber bisher hat niemand angerufen.
Der Alarm wurde gelöscht, nachdem das Netzteil ausgetauscht worden war.
Welche dieser Nummern sollen in den neuen Vertrag übernommen werden?
""",
    "es": """
¿Cuándo termina mi contrato y cómo puedo cancelarlo?
La antena del puerto estuvo apagada tres horas la noche pasada.
Hemos revisado su línea y no encontramos ningún fallo por nuestra parte.
Si la luz del router está roja, desenchúfelo y espere un minuto.
Cada cliente nuevo recibe los dos primeros meses a mitad de precio.
Me dijo que el técnico llamaría, pero hasta ahora no ha llamado nadie.
La alarma desapareció después de cambiar la fuente de alimentación.
¿Cuáles de estos números hay que pasar al contrato nuevo?
""",
    "fr": """
Bonjour, comment puis-je vous aider ?
Mon internet ne marche plus depuis hier.
Veuillez redémarrer le modem.
La carte SIM n'est pas enregistrée.
Combien coûte ce forfait par mois ?
Le forfait coûte dix-neuf euros par mois.
Vous avez utilisé toutes vos données.
Envoyez-moi la facture par courriel, s'il vous plaît.
J'ai été débité deux fois ce mois-ci.
Nous vous rembourserons dans les cinq jours.
Un technicien viendra demain à neuf heures du matin.
Le câble de fibre dans votre rue est coupé.
Notre équipe est en train de réparer la panne.
La connexion marchera de nouveau ce soir.
Je veux garder mon numéro de téléphone.
Activez l'itinérance avant de partir en voyage.
La connexion est très lente le soir.
Quel code d'erreur voyez-vous à l'écran ?
J'ai perdu mon téléphone. Bloquez mon numéro, s'il vous plaît.
Merci de votre patience.
Quand mon contrat se termine-t-il et comment puis-je le résilier ?
L'antenne du port est restée éteinte pendant trois heures la nuit dernière.
Nous avons vérifié votre ligne et n'avons trouvé aucun défaut de notre côté.
Si le voyant du routeur est rouge, débranchez-le et attendez une minute.
Chaque nouveau client reçoit les deux premiers mois à moitié prix.
Elle m'a dit que le technicien appellerait, mais personne n'a appelé jusqu'ici.
L'alarme a disparu après le remplacement de l'alimentation.
Lesquels de ces numéros faut-il transférer vers le nouveau contrat ?
""",
    "th": """
สัญญาของฉันหมดเมื่อไร และจะยกเลิกได้อย่างไร
เสาสัญญาณใกล้ท่าเรือถูกปิดเมื่อคืนนี้เป็นเวลาสามชั่วโมง
เราตรวจสอบสายของคุณแล้วและไม่พบปัญหาจากฝั่งเรา
ถ้าไฟที่เราเตอร์เป็นสีแดง ให้ถอดปลั๊กแล้วรอหนึ่งนาที
ลูกค้าใหม่ทุกคนจ่ายครึ่งราคาในสองเดือนแรก
เธอบอกว่าช่างจะโทรมา แต่จนถึงตอนนี้ยังไม่มีใครโทร
สัญญาณเตือนหายไปหลังจากเปลี่ยนแหล่งจ่ายไฟ
หมายเลขใดบ้างที่ต้องย้ายไปสัญญาใหม่
""",
}
"""What is learned beside `telecom.languages`; sentence i of the eight says the same everywhere."""


def trigrams(text: str) -> Counter[str]:
    """How often each three characters occur, in lower case; what is no letter counts as a space."""
    letters = "".join(c if c.isalpha() or "\u0e00" <= c <= "\u0e7f" else " " for c in text.lower())
    padded = f" {' '.join(letters.split())} "
    return Counter(padded[i : i + 3] for i in range(len(padded) - 2))


def profile(text: str, size: int = 1000) -> dict[str, float]:
    """The most frequent trigrams of a language's text, each with its share of all of them."""
    counts = trigrams(text)
    whole = max(1, counts.total())
    best = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:size]
    return {gram: n / whole for gram, n in best}


PROFILES: dict[str, dict[str, float]] = {
    code: profile(SENTENCES.get(code, "") + text) for code, text in MORE.items()
}
"""Language -> trigram -> share."""


def language_table(
    texts: Sequence[str], profiles: Mapping[str, Mapping[str, float]] = PROFILES
) -> NDArray[np.float64]:
    """(texts, languages): how probable each language is, if all are equally so beforehand.

    The likelihood of a text's trigrams in each profile, those of no profile left out; what only
    others have counts as a tenth of the rarest. A text with no known trigram: all alike.
    """
    known = {gram: i for i, gram in enumerate(sorted(set().union(*profiles.values())))}
    logs = np.empty((len(known), len(profiles)))
    for column, shares in enumerate(profiles.values()):
        logs[:, column] = np.log(min(shares.values()) / 10)
        logs[[known[gram] for gram in shares], column] = np.log(list(shares.values()))
    counts = np.zeros((len(texts), len(known)))
    for row, text in zip(counts, texts, strict=True):
        for gram, n in trigrams(text).items():
            if gram in known:
                row[known[gram]] = n
    scores = counts @ logs
    scores = np.exp(scores - scores.max(1, keepdims=True))
    return scores / scores.sum(1, keepdims=True)


def languages(
    texts: Sequence[str], profiles: Mapping[str, Mapping[str, float]] = PROFILES
) -> list[str]:
    """The most probable language of each text; "" where nothing speaks for one."""
    names = list(profiles)
    table = language_table(texts, profiles)
    sure = table.max(1, initial=0) > table.min(1, initial=1)
    return [names[i] if known else "" for i, known in zip(table.argmax(1), sure, strict=True)]
