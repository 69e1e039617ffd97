"""Refusals in further languages: a model that declines, at the beginning of a text.

The rules of `generation/replies/refusal_texts.py` read English, Chinese, Spanish, French, German, Portuguese, Japanese and
Russian. These read Italian, Dutch, Polish, Turkish, Swedish, Danish, Norwegian, Finnish, Czech, Hungarian, Romanian, Greek, Ukrainian, Korean,
Arabic, Hebrew, Hindi, Thai, Vietnamese and Indonesian. "I cannot" alone proves nothing: the text must also name a task of a model.
"""

import re

_BEGINNING = 240
# Words of inability, then words of the task; both have to be in one sentence, and the first near the beginning.
_LANGUAGES = (
    # Italian
    (r"non (?:posso|sono in grado|mi è possibile|possiamo)|(?:devo|debbo) (?:rifiutare|declinare)",
     r"richiest|crear|generar|scriver|aiutar|aiuto|fornir|risponder|rispost|soddisfar|compit|persona"),
    # Dutch
    (r"kan (?:ik )?(?:u |je |hier |dit |dat |deze )?(?:helaas )?(?:niet|geen)|niet in staat|moet (?:ik )?weigeren",
     r"verzoek|maken|schrijven|helpen|genereren|beantwoorden|voldoen|opdracht|persona"),
    # Polish
    (r"nie (?:mogę|możemy|jestem w stanie|potrafię)", r"prośb|stworzy|napisa|pomóc|wygenerowa|odpowiedzie|zadani|spełni"),
    # Turkish
    (r"(?:yardımcı ol|oluştur|yaz|yap|yerine getir|ver|üret|sağla)a?[my]?[aıeiuü]*(?:mam|mem|mıyorum|miyorum|muyorum|müyorum|mayacağım|meyeceğim)\b", r""),
    # Scandinavian
    (r"kan (?:jag |jeg )?(?:tyvärr |desværre |dessverre )?(?:inte|ikke)|inte möjligt",
     r"hjälpa|skapa|skriva|svara|uppfylla|begäran|hjælpe|skabe|skrive|svare|anmodning|hjelpe|lage|forespørsel|uppgift"),
    # Finnish
    (r"en (?:voi|pysty|kykene)", r"pyyn|auttaa|luoda|kirjoittaa|vastata|tehtäv"),
    # Czech and Slovak
    (r"ne(?:mohu|můžu|môžem|jsem schopen|dokážu)", r"žádost|vytvořit|napsat|pomoci|pomoct|odpovědět|vygenerovat|úkol|pomôcť|vytvoriť"),
    # Hungarian
    (r"nem (?:tudok|tudom|áll módomban|lehet)", r"kérés|segíteni|létrehozni|írni|válaszolni|teljesíteni"),
    # Romanian
    (r"nu (?:pot|sunt în măsură|putem)", r"cerere|solicitare|crea|genera|scrie|ajuta|răspunde|îndeplini"),
    # Greek
    (r"δεν (?:μπορώ|είμαι σε θέση|δύναμαι)", r"αίτημα|βοηθήσω|δημιουργήσω|γράψω|απαντήσω|εκπληρώσω"),
    # Ukrainian
    (r"не (?:можу|в змозі|маю можливості)", r"запит|допомогти|створити|написати|відповісти|виконати|згенерувати"),
    # Korean
    (r"수 없|어렵습니다|불가능", r"요청|도와|도움|작성|생성|만들|답변|제공"),
    # Arabic
    (r"لا (?:أستطيع|يمكنني|أقدر|نستطيع)|غير قادر", r"طلب|مساعد|إنشاء|كتابة|الإجابة|تقديم|تنفيذ|أساعد|أكتب|أنشئ"),
    # Hebrew
    (r"(?:לא|אינני) (?:יכול|מסוגל|אוכל)|אין באפשרותי", r"בקש|לעזור|ליצור|לכתוב|לענות|לסייע|למלא"),
    # Hindi
    (r"नहीं (?:कर|दे|लिख|बना) ?(?:सकता|सकती|सकते|पाऊँगा|पाऊंगा)|असमर्थ|मदद नहीं", r"अनुरोध|मदद|सहायता|बना|लिख|उत्तर|जवाब|पूरा"),
    # Thai
    (r"ไม่สามารถ|ไม่อาจ", r"คำขอ|ช่วย|สร้าง|เขียน|ตอบ"),
    # Vietnamese
    (r"không (?:thể|được phép|có khả năng)", r"yêu cầu|giúp|hỗ trợ|tạo|viết|trả lời|thực hiện|cung cấp"),
    # Indonesian and Malay
    (r"(?:tidak|tak) (?:bisa|dapat|boleh|mampu)", r"membantu|membuat|memenuhi|memberikan|menulis|menjawab|permintaan|menghasilkan|bantu"),
)  # fmt: skip
_SORRY = re.compile(
    r"\A\W{0,3}(?:mi dispiace|mi scuso|spiacente|purtroppo|scusa|sorry|het spijt (?:me|mij)|helaas|przepraszam|niestety|przykro mi|üzgünüm|maalesef|"
    r"özür dilerim|tyvärr|jag är ledsen|förlåt|desværre|beklager|dessverre|undskyld|valitettavasti|pahoittelen|anteeksi|olen pahoillani|omlouvám se|"
    r"bohužel|je mi líto|ľutujem|sajnálom|elnézést|sajnos|îmi pare rău|din păcate|scuze|λυπάμαι|συγγνώμη|δυστυχώς|вибачте|на жаль|перепрошую|"
    r"죄송|미안|유감|آسف|أعتذر|عذر|للأسف|نأسف|מצטער|סליחה|לצערי|माफ़?|क्षमा|खेद|ขออภัย|ขอโทษ|เสียใจ|xin lỗi|rất tiếc|tiếc là|maaf|mohon maaf|sayangnya)",
    re.IGNORECASE,
)
# Someone who speaks to a person or asks for a text of their own.
_VOICE = re.compile(
    r"scrivimi|aiutami|schrijf (?:me|mij)|help (?:me|mij)|napisz mi|pomóż mi|bana (?:bir )?(?:yaz|yardım)|hjälp mig|skriv (?:en|ett) |auta minua|pomoz mi|segíts|"
    r"ajută-mă|βοήθησέ με|допоможи мені|도와주세요|도와줘|써 ?주세요|ساعدني|اكتب لي|עזור לי|मेरी मदद|ช่วยฉัน|giúp tôi (?:viết|làm)|bantu saya|tolong",
    re.IGNORECASE,
)
_PATTERNS = tuple(
    re.compile(rf"(?:{unable})[^.!?。]{{0,120}}(?:{task})|(?:{task})[^.!?。]{{0,80}}(?:{unable})", re.IGNORECASE)
    for unable, task in _LANGUAGES
)


def is_foreign_refusal(text: str) -> bool:
    """Whether a text begins with an apology and says that a request cannot be done, in one of the languages above.

    >>> is_foreign_refusal("Mi dispiace, ma non posso soddisfare questa richiesta.")
    True
    """
    beginning = text[:_BEGINNING]
    if not _SORRY.match(beginning) or _VOICE.search(text):
        return False
    return any(pattern.search(beginning) for pattern in _PATTERNS)
