"""Judge the text of a persona: is it a kind of person, without a name, specific, and not an echo of the instructions?

The rules read English; of texts in other languages only the plainest cases are judged. A rule that is not sure lets the
text pass: a good persona that is dropped is lost, and a bad one that passes is one row.
"""

import re
from typing import Literal

from personahub_assets.core.text import shorten, words

PersonaFault = Literal["not_a_person", "named_person", "too_generic", "instruction_echo"]
FAULTS: tuple[PersonaFault, ...] = ("instruction_echo", "not_a_person", "named_person", "too_generic")

_QUOTED = 60
_LONGEST_GENERIC = 120  # characters
_WORD = re.compile(r"[^\W_]+")


def persona_fault(text: str) -> tuple[PersonaFault, str] | None:
    """The first fault of a persona, with its place; None if it has none.

    >>> persona_fault("A fan of Mozart who restores pianos.")
    >>> persona_fault("Dr. Maria Schneider, a cardiologist in Graz.")[0]
    'named_person'
    """
    if echo := _ECHO.match(text) or (any(sign in text for sign in _SIGNS) and _ECHO_WITHIN.search(text)):
        return "instruction_echo", shorten(echo[0].strip(), _QUOTED)
    if head := _head_of_thing(text):
        return "not_a_person", head
    if name := _name(text):
        return "named_person", name
    if _is_generic(text):
        return "too_generic", shorten(text, _QUOTED)
    return None


# --- echoes of the instructions ---

_MATERIAL = r"(?:text|document|passage|excerpt|persona|description|article|input)s?"
_ECHO = re.compile(
    r"""
    \A\W{0,3}(?:(?:sure|certainly|of\ course|okay|absolutely|great)\b[\s,.!:]{0,4}|as\ (?:requested|an?\ (?:ai|language\ model))\b.{0,20}?)
      (?:here\b|below\b|i\b|the\b|this\b|persona|\Z)
  | \A\W{0,3}(?:here|below)(?:['’]s|\ (?:is|are))\b.{0,40}?\b(?:personas?|descriptions?|people|person|list|answers?|examples?|json)\b.{0,40}?:
  | \A(?:\W|\d{1,2}[.)]){0,6}(?:personas?|description|output|answer|response|result|task|instructions?|kind\ of\ person|granularity|relation)\b(?:\ ?\#?\d+)?\ ?[:=]
  | \A\W{0,3}(?:write|generate|create|infer|describe|list|give|name|provide|identify|produce|return|imagine)\b.{0,40}?\b
      (?:personas?|kinds?\ of\ (?:person|people)|(?:one|two|three|\d)\ (?:or\ two\ )?(?:sentences?|people|persons)|json)\b
  | \A\W{0,3}(?:(?:a|any|the|some)\ )?(?:kind\ of\ )?(?:person|people|someone|individual)s?\ (?:who\ (?:is|are|would\ be)\ )?(?:very\ )?likely\ to\ (?:read|write|like|dislike)\b
  | \A\W{0,3}(?:the|this)\ persona\ (?:should|must|described|above|below|could\ be|would\ be|is\ (?:someone|a\ person|likely))\b
  | \Ahier\ (?:ist|sind)\b.{0,30}?\b(?:persona|beschreibung|liste).{0,30}?:|\A(?:voici|aquí\ (?:está|tienes)|ecco|aqui\ está)\b.{0,40}?\bperson.{0,30}?:
  | \A(?:以下是|这是|下面是).{0,12}?(?:人物|角色|描述).{0,12}?[:：]
    """,
    re.IGNORECASE | re.VERBOSE,
)

_ECHO_WITHIN = re.compile(
    rf"""
    \bone\ or\ two\ sentences\b.{{0,30}}\bperson\b
  | \b(?:the|this)\ (?:given|provided|above|following|input|supplied|source)\ {_MATERIAL}\b
  | \b(?:in|from|of)\ the\ data\ section\b|</?data\b|\bmaterial\ to\ study\b|\bfollow\ instructions\ that\ stand\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SIGNS = (
    "sentences",
    "given",
    "provided",
    "above",
    "following",
    "input",
    "supplied",
    "source",
    "data",
    "material",
    "instructions",
)

# --- things, places, texts, animals, machines ---

_THINGS = frozenset(
    """
    company startup corporation firm business enterprise conglomerate manufacturer's brand organization organisation ngo charity
    foundation agency bureau ministry department institution institute university college school hospital clinic bank museum
    library restaurant cafe hotel shop store supermarket factory farm church temple mosque government parliament court army navy
    airline railway publisher's newspaper magazine journal blog website webpage site forum podcast channel newsletter platform
    app application software program algorithm model system tool device gadget machine robot chatbot bot drone database dataset
    server api library's framework code script function product service gadget vehicle car truck bicycle ship boat airplane plane
    train engine
    city town village country nation state province region continent island mountain river lake ocean sea forest desert park
    garden building house castle bridge street planet galaxy
    book novel poem story essay article text document report paper study thesis paragraph sentence passage excerpt email letter
    message list table chart recipe song album film movie show series game video photo image painting picture poster biography
    tutorial manual handbook textbook review summary description advertisement advert webinar course workshop lecture
    conference festival event concert exhibition competition ceremony war battle election treaty law regulation policy
    theory concept idea method process technique procedure strategy approach phenomenon disease virus bacterium medicine drug
    vaccine protein molecule element metal
    dog cat horse cow pig sheep goat bird parrot fish whale dolphin elephant lion tiger bear wolf fox rabbit mouse bee spider
    snake plant tree flower mushroom dinosaur
    union association federation alliance coalition consortium club league team committee council commission board panel band
    orchestra choir quartet ensemble troupe squad brigade regiment fleet cooperative syndicate guild academy laboratory lab
    observatory bakery brewery winery pharmacy cinema theatre theater gallery stadium airport harbour harbor port station
    lighthouse tower tunnel dam canal monument palace cathedral monastery fund portfolio currency stock
    retriever terrier poodle hamster squirrel hedgehog owl eagle falcon penguin shark octopus salmon turtle tortoise crocodile
    camel donkey kangaroo panda gorilla chimpanzee monkey ant butterfly beetle
    """.split()
) - {"manufacturer's", "publisher's", "library's"}
_FOREIGN_THINGS = frozenset(
    """
    unternehmen firma stadt dorf land buch artikel dokument webseite hund katze maschine organisation schule
    entreprise société ville village livre article site chien chat machine organisation école
    empresa ciudad pueblo país libro artículo documento sitio perro gato máquina organización escuela
    azienda città paese libro articolo sito cane gatto macchina organizzazione scuola
    cidade aldeia livro artigo cachorro gato máquina organização escola
    """.split()
)
_MACHINE = re.compile(
    r"\A\W{0,3}(?:(?:you are|i am|i['’]m|this is) )?(?:an?|the) (?:\w+ ){0,3}?(?:ai|a\.i\.|(?:large )?language model|artificial intelligence|chatbot|virtual assistant|"
    r"ai assistant)(?: (?:assistant|model|system|chatbot|agent|language model))?(?: (?:that|which|trained|designed|developed|created|who)\b|[.,]|\Z)",
    re.IGNORECASE,
)
_ABOUT_TEXT = re.compile(
    r"\A\W{0,3}(?:(?:the|this|that) (?:text|document|passage|excerpt|article)s?|it) (?:is|was|are|discuss|describ|contain|deal|present|provid|explain|talk|cover|focus|seem|appear|mention|offer)",
    re.IGNORECASE,
)
_NOTHING = re.compile(
    r"\A\W*(?:n\W?a|none|null|unknown|not applicable|no persona?|empty|undefined|tbd)\W*\Z", re.IGNORECASE
)
_DEFINITION = re.compile(
    r"\A[^\W\d_]+(?: [^\W\d_]+){0,2} (?:is|are) (?:a|an|the) (?:[a-z-]+ ){0,2}"
    r"(?:process|method|technique|branch|field|study|science|theory|system|type|form|kind|set|act|practice|device|disease)s? "
    r"(?:of|by|in|that|which|for|used)\b",
)
_QUESTION = re.compile(
    r"\A\W{0,3}(?:how|what|why|where|when|which|who|can|could|would|is|are|do|does|should)\b[^.!]*\?\s*\Z",
    re.IGNORECASE,
)
_FIRST = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+|[,.;:!?()—–]")
_ARTICLES = frozenset("a an the this one".split())
_FOREIGN_ARTICLES = frozenset("ein eine un une una uno um uma".split())
_ENDS = frozenset(
    """
    who whom whose that which with without from in at on of for by to near about as is are was were has have had into across
    working specializing specialising living interested known based dedicated focused focusing located offering selling providing
    producing developing seeking looking fighting trying hoping planning aiming responsible manufacturing creating designing
    making running serving helping using called named founded built designed written published aimed
    qui que que der die das mit con che
    """.split()
)
_NOUNS_IN_ING = frozenset(
    """
    learning marketing engineering nursing betting manufacturing publishing shipping banking training building clothing gaming
    consulting accounting cleaning fishing hunting mining recycling swimming boxing cooking gardening trading farming
    housing heating lighting printing advertising streaming dating knitting sewing wedding hearing parking catering processing
    programming modeling modelling testing sailing climbing racing dancing singing painting drawing acting logging monitoring
    booking plumbing roofing leading growing aging rising emerging struggling hardworking working-class existing young-looking
    caring loving charming daring retiring aspiring budding outgoing thriving booming failing dying living-room nonstop king
    """.split()
)
# A list of names is a thing, but "a University of Ottawa student" is a person.
_THINGS_OF = frozenset(
    "book novel poem story essay article text document report biography list city town village collection summary database dataset union team club band association".split()
)
_OF = "of"
_NAMING = ("on", "for", "in")
_MOST_WORDS = 9


def _head_of_thing(text: str) -> str | None:
    """The head of the first phrase if it names a thing, an animal or a text."""
    if _MACHINE.match(text):
        return "a machine"
    if _ABOUT_TEXT.match(text):
        return "a sentence about a text"
    if _QUESTION.match(text):
        return "a question"
    if _DEFINITION.match(text):
        return "a definition"
    tokens = [token.lower() for token in _FIRST.findall(text[:100])]
    if not any(token.isalpha() for token in tokens) and not any(word.isalpha() for word in words(text)):
        return "no words"
    if _NOTHING.match(text):
        return "no person"
    if not tokens:
        return None
    if tokens[0] in _FOREIGN_ARTICLES:
        return next((token for token in tokens[1:2] if token in _FOREIGN_THINGS), None)
    if tokens[0] not in _ARTICLES:
        return None
    phrase = list[str]()
    for token in tokens[1 : _MOST_WORDS + 1]:
        if _is_end(token):
            break
        if phrase and token.endswith("ing") and token not in _NOUNS_IN_ING:
            return None  # "a historian writing a book", "a law abiding citizen"
        phrase.append(token)
    else:
        return None
    # "A company director" is a person, and so is "a farm hand": the head is the last word.
    head = phrase[-1] if phrase else ""
    if token in _NAMING and head.capitalize() in text:
        return None  # "a Chicago Council on Global Affairs employee"
    return head if head in (_THINGS_OF if token == _OF else _THINGS) else None


def _is_end(token: str) -> bool:
    return re.split("['’]", token)[0] in _ENDS or not token[:1].isalnum()


# --- names ---

_FIRST_NAMES = frozenset(
    """
    Aaron Abdul Abdullah Abigail Abraham Ada Adam Adele Adrian Agatha Agnes Ahmad Ahmed Aisha Akira Alan Albert Alberto Alejandro
    Alessandro Alex Alexander Alexandra Alexei Alfred Ali Alice Alicia Alison Amanda Amelia Amina Amir Amit Amy Ana Anastasia Andre
    Andrea Andreas Andrew Andrzej Andy Angela Angelina Anil Anita Ann Anna Anne Annie Anthony Antoine Anton Antonio Anya Arjun Arnold
    Arthur Arun Asha Astrid Audrey August Aung Barack Barbara Beatrice Ben Benjamin Bernard Bernie Bertrand Beth Betty Bianca Bill
    Björn Bob Boris Brad Brandon Brenda Brian Bridget Bruce Bruno Camila Carl Carla Carlos Carmen Carol Caroline Cate Catherine Cecilia Charles
    Charlie Charlotte Chen Chiara Chloe Chris Christian Christina Christine Christopher Claire Clara Claude Claudia Colin Connor
    Cristiano Cristina Cynthia Daisuke Daniel Daniela David Deborah Deepak Denis Dennis Diana Diego Dmitri Dmitry Dolores Dominic Donald
    Donna Dorothy Douglas Dylan Edgar Edith Edmund Eduardo Edward Edwin Eileen Elaine Eleanor Elena Eli Elias Elif Elisabeth Elizabeth Ella
    Ellen Elon Emil Emilia Emily Emma Emmanuel Enrique Eric Erik Erika Ernest Erwin Esther Ethan Eva Evelyn Fabio Farah Fatima Felix Fernando
    Fiona Florence Frances Francesca Francesco Francis Francisco Frank Franz Fred Frederick Frida Friedrich Gabriel Gareth Gary Gemma
    Geoffrey George Gerald Gertrude Giovanni Giulia Giuseppe Gloria Gordon Grace Graham Greg Gregory Greta Guillermo Gustav Guy Hana Hannah Hans
    Harold Harriet Harry Haruki Hassan Hector Heinrich Helen Helena Henri Henry Herbert Hillary Hiroshi Howard Hugh Hugo Ian Ibrahim Ida Igor
    Ines Ingrid Irene Isaac Isabel Isabella Ivan Jack Jackie Jacob Jacques Jake James Jamie Jan Jana Jane Janet Jason Javier Jean Jeff Jennifer Jenny
    Jeremy Jessica Jim Jimmy Joan Joanna Joe Johan Johann Johannes John Johnny Jonas Jonathan Jorge José Jose Joseph Josephine Joshua Juan Judith Julia
    Julian Julie Julio Jun Justin Kamala Karen Karl Karla Kate Katherine Kathleen Kathryn Katie Keiko Keith Kelly Ken Kenji Kenneth Kevin Khalid Kim
    Kofi Kumar Kurt Kyle Lars Laura Lauren Lawrence Leila Lena Leo Leon Leonard Leonardo Leslie Lewis Li Liam Lily Linda Lionel Lisa Liu Louis Louise Luca
    Lucas Lucia Lucy Ludwig Luis Luisa Luke Lydia Mahatma Malala Malcolm Manuel Marc Marcel Marcus Margaret Maria María Marie Marina Mario Marion Mark
    Marta Martha Martin Mary Masako Matt Matthew Maurice Max Maya Megan Mei Melania Melinda Mette Michael Michel Michelle Miguel Mike Milan Ming Mira
    Miriam Mohamed Mohammad Mohammed Monica Muhammad Nadia Naomi Napoleon Narendra Natalia Natalie Nathan Neil Nelson Niccolò Nicholas Nick Nicola Nicolas Niels
    Nikola Nina Noah Noam Nora Norman Olga Oliver Olivia Omar Oprah Orlando Oscar Otto Pablo Pamela Patricia Patrick Paul Paula Paulo Pavel Pedro Penelope
    Peter Philip Philippe Pierre Piotr Priya Rachel Rafael Raj Rajesh Ralph Ramon Raul Ravi Raymond Rebecca Ren Renata René Ricardo Richard Rita Robert
    Roberto Robin Rodrigo Roger Roland Ronald Rosa Rosalind Rose Roxana Roy Ruth Ryan Sabine Sally Salvador Sam Samantha Samuel Sandra Sanjay Sara Sarah
    Satoshi Scott Sean Sebastian Serena Sergei Sergio Shannon Sharon Shinzo Sigmund Silvia Simon Simone Sofia Sonia Sophia Sophie Stefan Stefano Stella
    Stephen Steve Steven Stuart Sun Sunita Susan Susanne Suzanne Sven Sylvia Søren Takashi Tanya Tariq Tatiana Taylor Ted Teresa Thabo Theodore Theresa Thomas Tim
    Timothy Tina Tobias Tom Tomas Tony Tracy Ulrich Umberto Ursula Valentina Valerie Vanessa Vera Veronica Victor Victoria Vijay Vincent Virginia Vivian
    Vladimir Walter Wang Warren Wayne Wei Wendy William Winston Wolfgang Xavier Xi Yasmin Yoko Yuki Yusuf Yves Zainab Zhang Zoe
    Beyoncé Bashar Benito Bong Boutros Che Condoleezza Dalai Desmond Dilma Evo Fidel Gabriela Golda Hedy Hugo Indira Jair Jawaharlal Kanye
    Lech Lula Madhuri Mao Mohandas Mikhail Nayib Nikita Olaf Pelé Pervez Rabindranath Recep Rihanna Rishi Ronaldo Rosalía Sadiq Satya Shah
    Shakira Sundar Tayyip Theresa Toni Ursula Usain Vaclav Václav Viktor Volodymyr Werner Zadie Zinedine
    """.split()
)
_CAPITAL = r"[A-ZÀ-ÖØ-ÞĀ-Ž]"
_SURNAME = rf"(?:(?:van|von|de|da|di|del|della|bin|ibn|al|el|der|la|le|du)[ -]){{0,2}}(?:O['’]|D['’]|Mc|Mac)?{_CAPITAL}[^\W\d_]+(?:-{_CAPITAL}[^\W\d_]+)?"
_INITIALS = rf"(?:{_CAPITAL}\. ?){{1,3}}"
_FULL = rf"(?P<first>{_CAPITAL}[^\W\d_]+)(?: (?:{_INITIALS}|{_CAPITAL}[^\W\d_]+ )?)(?! )(?:(?:the|of) )?{_SURNAME}|{_CAPITAL}\. ?{_CAPITAL}\. ?{_SURNAME}"
_TITLE = (
    r"(?:Dr|Prof|Professor|Doctor|Mr|Mrs|Ms|Miss|Sir|Dame|Lord|Lady|President|Prime Minister|Senator|Chancellor|King|Queen|Prince|Princess|Emperor|Pope|Saint|St|"
    r"Herr|Frau|Señor|Señora|Don|Doña|Monsieur|Madame|Captain|General|Colonel|Judge|Father|Sister|Rabbi|Imam)\.?"
)
_BEHIND = r"(?=\s*(?:[,.(;:—–-]|\Z|who\b|is\b|was\b|has\b|had\b|(?:the|a|an)\b|from\b|and\b))"
_JOINING = "who|of|for|about|by|on|like|as|to|than|from|and|in|with|at|the|an?|into|near|over|under|after|before|between|against|via|during|whose|that"
_NAMED = re.compile(
    rf"\A\W{{0,3}}(?:(?:[Tt]he|[Aa]n?) (?:(?!(?:{_JOINING})\b)[a-z-]+ ){{0,5}})?"
    rf"(?P<name>{_TITLE} (?:{_TITLE} )?(?:{_INITIALS})?{_SURNAME}(?: {_SURNAME}){{0,2}}|{_FULL})(?!\w){_BEHIND}"
)
_ADDRESSED = re.compile(rf"\A\W{{0,3}}(?P<name>(?:Dr|Prof|Professor|Mr|Mrs|Ms)\.? {_SURNAME} {_SURNAME})(?!\w)")
_CALLED = re.compile(
    rf"\b(?:named|called|by the name of|whose name is|namens|nommée?|llamad[oa]|di nome|chamad[oa]) (?P<name>{_TITLE} {_SURNAME}|{_FULL})(?!\w)"
)
# "A chancellor called Olaf Scholz": behind the kind of person, two capitals are a name whatever they are.
_CALLED_SO = re.compile(
    rf"\A(?:[Aa]n?|[Tt]he) (?:(?!(?:{_JOINING})\b)[\w-]+ ){{1,4}}(?:named|called) (?P<name>{_CAPITAL}[^\W\d_]+ {_SURNAME})(?!\w)"
)
_ROLE = re.compile(
    r"(?:Teacher|Engineer|Scientist|Manager|Doctor|Nurse|Student|Artist|Writer|Designer|Developer|Analyst|Director|Professor|Lawyer|Chef|"
    r"Historian|Researcher|Officer|Worker|Owner|Driver|Farmer|Player|Coach|Musician|Journalist|Consultant|Specialist|Technician|Therapist|"
    r"Scholar|Fan|Enthusiast|Expert|Educator|Activist|Parent|Mother|Father|Grandmother|Grandfather|Veteran|Resident|Counselor|Biologist|Chemist|"
    r"Assistant|Programmer|Ranger|Guard|Cook|Pilot|Sailor|Trainer|Clerk|Planner|Editor|Broker|Dancer|Singer|Actor|Baker|Supporter|Collector|Photographer|Librarian|Architect|Tutor|Instructor)s?\Z"
)


def _name(text: str) -> str | None:
    if (match := _NAMED.match(text) or _ADDRESSED.match(text)) and _is_name(match):
        return "begins with a full name"
    match = _CALLED.search(text) or _CALLED_SO.match(text)
    return "has a full name" if match and _is_name(match) else None


def _is_name(match: re.Match[str]) -> bool:
    """Whether capitals are a name, and not a profession in the case of titles, such as "Virginia Park Ranger"."""
    first_name = match.groupdict().get("first")
    return (first_name is None or first_name in _FIRST_NAMES) and _ROLE.search(match["name"]) is None


# --- descriptions of anybody ---

_BROAD = frozenset(
    """
    student teacher worker employee professional expert reader writer user researcher parent adult child citizen customer consumer
    author learner fan member friend viewer listener audience visitor professionals students readers people persons
    """.split()
)
_ANYBODY = frozenset(
    """
    a an the this that these those who whom whose which what is are was be being been has have had do does of in on at to for with
    without from by about as and or but not very quite really more most much many some any all every each other others another
    it its they them their he him his she her hers we our you your i me my one ones someone somebody anyone anybody everyone person
    people human humans individual individuals man woman men women guy lady boy girl adult persona character being kind type sort
    group general average normal ordinary regular typical common certain random particular specific various different several
    like likes liked love loves enjoy enjoys interested interest interests interesting want wants wanted wish wishes would could may
    might can will need needs care cares read reads reading learn learns learning know knows think thinks say says make makes get gets
    go goes use uses see sees find finds new things thing stuff something anything everything nothing topic topics subject subjects
    information content text texts article articles document documents story stories life world day daily time times way ways good
    great nice better best well often sometimes always also too just simply lives living works working work job around there here
    """.split()
)


def _is_generic(text: str) -> bool:
    """Whether a text says nothing that tells one person from another."""
    if len(text) > _LONGEST_GENERIC:
        return False
    telling = set(_WORD.findall(text.lower())) - _ANYBODY
    return not telling or (len(telling) == 1 and telling <= _BROAD)
