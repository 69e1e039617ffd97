"""Seeded persona-like sentences with planted near-duplicates, for the dedup benchmarks.

    sentences(100_000)                 about 18.7 distinct words and 129 bytes; every fifth row is an edit of an earlier
    sentences(1_000_000, words=40)     every row that is not an edit has 40 distinct words
    sentences(100_000, foreign=0.03)   3 % of the rows with accents, or in made-up Thai, Hindi, Arabic or Chinese
    templates(200_000)                 one template with six slots; templates(200_000, count=500): many

    .venv/bin/python benchmarks/dedup/generate.py OUT.parquet --rows 1000000

Rows are drawn in pieces of a fixed size, so a longer list begins with the rows of a shorter one. The vocabulary (about
11,000 words with Zipf frequencies, as in natural text) does not grow with the number of rows, which is a hard case for
joins by rare words.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

_PIECE = 50_000
_PLANTED = 0.2
_PLANTED_IN_TEMPLATES = 0.02
_SLOT_VALUES = 120

Ids = NDArray[np.int32]
Flags = NDArray[np.bool_]

# Common words come first: the draws are Zipf-like, so these make up most of the text.
_ROLES = """teacher nurse farmer engineer student writer doctor lawyer artist scientist musician historian librarian
chef coach designer journalist programmer architect pilot carpenter baker gardener plumber electrician soldier sailor
priest poet painter dancer singer actor director editor manager accountant banker clerk officer detective judge
mayor senator diplomat translator tutor professor lecturer researcher analyst consultant developer tester
planner surveyor miner fisher hunter ranger vet dentist surgeon pharmacist therapist midwife paramedic firefighter
mechanic driver courier postman waiter barista butcher tailor jeweller potter weaver smith mason roofer welder
collector curator archivist critic blogger publisher printer bookseller shopkeeper merchant broker investor
founder owner organiser activist volunteer retiree parent grandmother grandfather widow beekeeper climber runner
cyclist swimmer sailor skier gamer hobbyist astronomer biologist chemist physicist geologist botanist zoologist
economist sociologist linguist philosopher theologian statistician mathematician"""
_NOUNS = """history music children community science art nature health education technology family software culture
food water energy books language politics law sport business design film theatre poetry fiction gardens animals birds
plants forests rivers oceans mountains climate weather soil farming crops wine cheese bread coffee tea cooking
recipes nutrition exercise medicine patients hospitals schools students lessons exams research data statistics
numbers theories experiments methods tools machines engines robots networks computers games puzzles chess maps
travel trains ships aircraft cars bicycles roads bridges buildings houses cities villages markets shops trade money
taxes budgets contracts rights justice crime prisons courts elections debates speeches letters diaries archives
museums paintings sculptures photographs songs operas festivals rituals religion myths legends stories novels plays
scripts cameras cinema radio television newspapers magazines websites apps databases servers security privacy
memory dreams emotions habits friendship marriage childhood ageing grief trauma addiction therapy sleep pain
vaccines genes cells proteins bacteria viruses insects fish whales horses dogs cats sheep cattle bees butterflies
fossils minerals rocks volcanoes earthquakes storms floods droughts glaciers deserts islands lakes coasts reefs
stars planets galaxies satellites telescopes lasers sensors batteries solar wind nuclear oil gas coal steel wood
paper glass textiles fashion jewellery furniture ceramics toys instruments pianos guitars drums choirs orchestras
jazz folk opera ballet dance yoga running cycling swimming football tennis cricket rugby boxing wrestling
volunteers charities refugees migrants minorities women veterans workers unions wages pensions insurance housing
poverty hunger inequality development aid peace war strategy treaties borders empires revolutions colonies"""
_ADJECTIVES = """local young old new small rural urban modern ancient early public private social digital natural
historical medical legal creative curious careful patient practical ambitious dedicated passionate experienced retired
independent traditional contemporary classical national global regional remote coastal northern southern eastern
western tropical arctic quiet busy friendly strict gentle bold humble proud honest sceptical cautious thoughtful
playful stubborn generous frugal wealthy poor rich rare common simple complex advanced basic technical academic
professional amateur military religious secular political economic environmental ethical sustainable renewable
organic chemical biological genetic clinical mental physical emotional cognitive linguistic visual musical literary
artistic theatrical cinematic industrial agricultural maritime nautical alpine volcanic geological celestial
quantum statistical numerical logical abstract concrete experimental theoretical applied forensic criminal civil
constitutional international bilingual multicultural indigenous immigrant elderly teenage adult junior senior
freelance certified licensed renowned obscure forgotten famous emerging veteran aspiring devoted avid keen"""
_VERBS = """teaches studies writes explains collects restores designs builds repairs sells grows cooks paints
photographs records translates edits publishes reviews analyses measures models tests improves organises leads
supports advises trains coaches mentors inspires protects defends promotes explores documents archives catalogues
interprets compares criticises questions investigates monitors predicts plans manages funds finances insures
regulates audits inspects maintains operates programs automates simulates visualises maps surveys excavates
preserves performs composes conducts rehearses directs produces films draws sculpts weaves knits sews carves
bakes brews ferments harvests plants breeds rescues treats diagnoses heals counsels comforts entertains follows
debates discusses presents lectures blogs shares teaches reads admires loves enjoys values seeks avoids fears"""
_PLACES = """London Paris Berlin Lagos Mumbai Tokyo Chicago Toronto Sydney Nairobi Cairo Lima Madrid Rome Vienna
Oslo Dublin Boston Texas Ohio Kerala Punjab Ghana Kenya Brazil Chile Peru Mexico Spain Italy France Germany Poland
Greece Turkey Egypt India Nepal Japan Korea Vietnam Canada Iceland Norway Sweden Finland Scotland Wales Ireland"""

# The long tail: words composed of parts.
_FORMS = """aero agro anthro aqua archa astro audio auto bio carbo cardio chrono cosmo crypto cyber cyto dendro derma
eco electro entomo ethno exo geno geo glacio gyro helio hemo histo homo hydro hypno immuno kine lexi litho macro magneto
meta micro mono morpho multi musico mytho nano neuro omni ornitho osteo paleo patho phono photo physio phyto poly
proto psycho pyro radio rheo seismo socio sono stereo techno tele terra thermo topo toxi typo ultra video xeno zoo"""
_ROLE_ENDS = """logist graphist metrist therapist chemist physicist nomist sophist grapher linguist mancer smith
wright keeper maker monger scopist technician trader archivist critic designer analyst modeller tutor surgeon"""
_NOUN_ENDS = """logy graphy metry scopy genesis sphere gram graph phone scope meter plasm type tech dynamics statics
mechanics ethics tropism chemistry physics therapy systems fibre crafts culture forms sets lore cycles"""
_ADJECTIVE_ENDS = """logical graphic metric scopic genic spheric phonic static dynamic tropic chemical morphic
centric cultural ethical social cyclic typical active sonic plastic thermal lateral"""
_VERB_STEMS = """act adapt align arrange assemble balance bind bolster calibrate chart clarify classify compile
connect convert craft decode define deploy derive detect draft edit encode engage enrich estimate evolve examine
expand fashion filter forge form frame gather guide index infer invent layer lift link locate merge mould move note
order pack place plot press probe process prune quote rank read route sample scan script seal search shape shift
sketch solve sort stage steer store stitch structure sustain test trace track transform turn update weigh wire work"""
# Endings that make other classes of the stems.
_STEM_ENDS = {"role": "er or ist eer", "noun": "ing ment age ure", "adj": "able ive ous ish less"}
_VERB_STARTS = ["co", "cross", "fore", "inter", "mis", "out", "over", "pre", "re", "sub", "trans", "under", "un", "up"]
_PLACE_STARTS = """Ash Bark Beck Birch Black Bram Bridge Brook Burn Carl Chal Clay Cold Crow Dal Dun East Elm Fair Fen
Glen Gold Grim Hal Hart Hazel Hol Kirk Lang Lin Marsh Mill Moor North Oak Pen Red Rock Rush Salt Sand Shel Stan Stone
Thorn Wal West White Win Wood"""
_PLACE_ENDS = """borough bridge bury by combe dale don field ford gate ham haven hill holm hurst leigh ley mere minster
moor mouth port shaw stead ster stoke thorpe ton well wick worth"""

_OPENINGS = """a <adj> <role> from <place> who
a <role> in <place> who
an <adj> <role> and <role> who
a <adj> <adj> <role> who
the <adj> <role> of a <adj> <noun> group that
a <role> with a background in <adj> <noun> who
a retired <role> living near <place> who
a <role> at a <adj> university in <place> who
someone who once was a <adj> <role> and now
a <adj> parent of two children in <place> who
a <role> specialising in <noun> and <noun> who
an <adj> student of <noun> at <place> who
the owner of a small <noun> shop in <place> who
a self-taught <role> who
a <adj> <role> for a <noun> magazine who
a former <role> turned <adj> <role> who
my <adj> neighbour, a <role>, who
one of the few <role>s in <place> that still
a <adj> <role>, born near <place>, who
a <noun> <role> whose <adj> family
the youngest <role> on a <adj> team which
an amateur <role> with little money who
a <role> preparing an exam on <adj> <noun> who
a <place> resident, formerly <role>, who
a single mother and <adj> <role> who
a <role> tired of <noun> who
a visiting <role> from <place> university who
a <adj> person without any <noun> who
an award-winning <role> who
a <noun> fan and part-time <role> who
a volunteer <role> during <adj> holidays who
a remote <role> between two jobs who"""
_CLAUSES = """<verb> <adj> <noun> for <noun>
<verb> <noun> and <noun> in <place>
is interested in the <noun> of <adj> <noun>
<verb> how <noun> affects <adj> <noun>
has spent years on <adj> <noun> and its <noun>
is passionate about <noun>, <noun> and <noun>
<verb> <role>s about <adj> <noun>
often <verb> the <adj> <noun> of <place>
works with <adj> <role>s on <noun>
would like to know more about <adj> <noun>
believes that <noun> can improve <adj> <noun>
<verb> people's <noun> through <adj> <noun>
is writing a book on <noun> in <place>
never <verb> <noun> without <adj> <noun>
runs a <adj> club for <noun> and <noun>
is preparing a lecture on the <adj> <noun> of <place>
<verb> <noun>, mostly <adj> ones
teaches <adj> <noun> to <adj> <role>s
wants to combine <noun> with <adj> <noun>
collects <adj> <noun> from <place>
doubts whether <adj> <noun> <verb> any <noun>
<verb> <noun> every morning before <adj> <noun>
keeps old <noun> at home near <place>
has never seen <adj> <noun> outside <place>
<verb> both <noun> and <adj> <noun>
dreams of a <adj> life among <role>s
finds <noun> easier than <noun>
was taught <noun> by an <adj> <role>
spends weekends on <adj> <noun>
argues against <noun> whenever <noun> <verb> <noun>
helps younger <role>s understand <noun>
saves money for <adj> <noun>
<verb> <place> <noun> using only <adj> <noun>
recently gave up <noun> because of <noun>
is known for <adj> <noun>
must choose between <noun> or <adj> <noun>
looks after <adj> <noun> since childhood
asks each <role> what <noun> means
rarely talks about <noun> but <verb> <adj> <noun>
plans a trip from <place> to <place>
hopes their <noun> <verb> more <adj> <noun>
<verb> several <noun> into one <adj> <noun>
sees <noun> as <adj> <noun>
loves <adj> <noun> even if <noun> fails"""
_TEMPLATE = """a <place> <role> with <adj> views on modern <noun> , who each year <verb> another book about the same
question and thinks <topic> matters"""

_ACCENTED = """São Zürich café naïve Málaga Kraków jalapeño façade Århus Gdańsk crème Müller Łódź Reykjavík fiancée
Brontë piñata Orléans smørrebrød Çelik Ünal Škoda déjà señor Curaçao Antioquía Māori"""
_THAI = (
    "กา ขอ คน งาน จาก ชาว ดิน ตาม ถึง ทำ นา บ้าน ปลา ผู้ พืช ฟ้า ภู มา ยา รัก",
    "รู้ ลม วัน ศึก สวน หา อ่าน เก่ง แม่ น้ำ ใจ โลก ไทย ดี สุข",
)
_HINDI = ("का की गा घर चि जी ता दी ना पु बा भी मे रा लो वि शा सु हि क्षे", "त्र नी री ला षा स्त यक र्म ल्प ड़ी कार वान शील पन")
_ARABIC = ("كا في من عل مد بي تا جم حر خي در را سا شر صن طب فن قل لغ نو", "تب لم رس حث ون ين ات ية ان وم يد ار")
_CHINESE = (
    "学 教 文 科 历 农 医 音 艺 工 生 城 山 水 海 天 语 书 画 商",
    "师 者 史 术 学 家 业 村 市 人 园 院 法 理 物 化 地 食",
)

_EDITS = ("repeat", "restyle", "swap", "add", "remove", "replace", "replace two")
_EDIT_SHARES = (0.10, 0.25, 0.15, 0.16, 0.16, 0.12, 0.06)
# How a row is written out: as is, lower case, upper case, without its full stop, with exclamation mark, quoted.
_STYLES = 6


@dataclass(frozen=True)
class _Vocabulary:
    """All tokens as one list; a class of words is a range of it, the most frequent first."""

    tokens: list[str]
    ranges: dict[str, range]

    def draw(self, rng: np.random.Generator, kind: str, count: int) -> Ids:
        """Zipf-like draws from a class of words."""
        chances = _zipf(len(self.ranges[kind]))
        return (self.ranges[kind].start + np.searchsorted(chances, rng.random(count))).astype(np.int32)


@cache
def _zipf(size: int) -> NDArray[np.float64]:
    weights = 1 / (np.arange(size) + 12.0) ** 1.1
    summed = np.cumsum(weights)
    summed /= summed[-1]
    summed[-1] = 1.0
    return summed


def _joined(starts: Sequence[str], ends: Sequence[str], rng: np.random.Generator, size: int) -> list[str]:
    """Words of two parts each, in a seeded random order of frequency; short words tend to be more frequent."""
    made = list(dict.fromkeys(start + end for start, end in product(starts, ends)))
    chosen = [made[at] for at in rng.permutation(len(made))[:size]]
    rank = np.array([len(word) for word in chosen]) + rng.normal(0, 2, len(chosen))
    return [chosen[at] for at in np.argsort(rank, kind="stable")]


@cache
def _vocabulary() -> _Vocabulary:
    rng = np.random.default_rng(20_240_628)
    forms = _FORMS.split()
    stems = _VERB_STEMS.split()
    verbs = [stem + "s" for stem in stems]
    short = {kind: _joined(stems, ends.split(), rng, 600) for kind, ends in _STEM_ENDS.items()}
    classes = {
        "role": _ROLES.split() + short["role"] + _joined(forms, _ROLE_ENDS.split(), rng, 1_600),
        "noun": _NOUNS.split() + short["noun"] + _joined(forms, _NOUN_ENDS.split(), rng, 2_200),
        "adj": _ADJECTIVES.split() + short["adj"] + _joined(forms, _ADJECTIVE_ENDS.split(), rng, 1_600),
        "verb": _VERBS.split() + verbs + _joined(_VERB_STARTS, verbs, rng, 1_300),
        "place": _PLACES.split() + _joined(_PLACE_STARTS.split(), _PLACE_ENDS.split(), rng, 1_600),
        "accent": _ACCENTED.split(),
        **{name: _joined(a.split(), b.split(), rng, 600) for name, (a, b) in _SCRIPTS.items()},
    }
    tokens: list[str] = []
    ranges = {}
    for kind, words in classes.items():
        own = list(dict.fromkeys(words))
        ranges[kind] = range(len(tokens), len(tokens) + len(own))
        tokens += own
    return _Vocabulary(tokens, ranges)


_SCRIPTS = {"thai": _THAI, "hindi": _HINDI, "arabic": _ARABIC, "chinese": _CHINESE}
_WITHOUT_SPACES = ("thai", "chinese")
_SLOTS = ("role", "noun", "adj", "verb", "place")


@cache
def _grammar() -> tuple[list[str], Ids, Ids]:
    """All tokens, first the vocabulary; openings and clauses as rows of token ids (-1 pads, -2 - k is slot k)."""
    tokens = list(_vocabulary().tokens)
    tables = []
    for text in (_OPENINGS, _CLAUSES):
        rows = [_ids(line, tokens) for line in text.splitlines()]
        width = max(map(len, rows))
        tables.append(np.array([row + [-1] * (width - len(row)) for row in rows], np.int32))
    return tokens, tables[0], tables[1]


def _ids(line: str, tokens: list[str]) -> list[int]:
    """The token ids of a line of the grammar; new words are appended to the tokens."""
    ids = []
    for part in line.replace(",", " ,").split():
        for token in part.replace("<role>s", "<role>").split():
            kind = token[1:-1]
            if token.startswith("<") and kind in _SLOTS:
                ids.append(-2 - _SLOTS.index(kind))
                continue
            if token not in tokens:
                tokens.append(token)
            ids.append(tokens.index(token))
    return ids


@dataclass
class _Rows:
    """Sentences as token ids: (n, width), -1 to the right of the last one; the style and the script of each."""

    ids: Ids
    style: NDArray[np.int8]
    glued: Flags  # written without spaces


def _filled(rng: np.random.Generator, ids: Ids) -> Ids:
    """Draw a word for every slot."""
    for number, kind in enumerate(_SLOTS):
        slots = ids == -2 - number
        ids[slots] = _vocabulary().draw(rng, kind, int(slots.sum()))
    return ids


def _packed(ids: Ids, width: int) -> Ids:
    """Move the padding to the right, and cut or pad to the width."""
    order = np.argsort(ids < 0, axis=1, kind="stable")
    packed = np.take_along_axis(ids, order, axis=1)[:, :width]
    return np.pad(packed, ((0, 0), (0, width - packed.shape[1])), constant_values=-1)


def _cut(ids: Ids, words: int) -> Ids:
    """Cut each row before it has more distinct words than requested."""
    comma = _grammar()[0].index(",")
    distinct = np.zeros(len(ids), np.int64)
    for at in range(ids.shape[1]):
        column = ids[:, at]
        fresh = (column >= 0) & (column != comma) & ~(ids[:, :at] == column[:, None]).any(axis=1)
        distinct += fresh
        ids[distinct > words, at] = -1
    return ids


def _drawn(rng: np.random.Generator, count: int, words: int | None, width: int) -> Ids:
    """New sentences: an opening, and clauses until a sentence is long enough."""
    tokens, openings, clauses = _grammar()
    join = np.array([tokens.index(",") if "," in tokens else -1, tokens.index("and")], np.int32)
    parts = [openings[rng.integers(len(openings), size=count)]]
    for number in range(2 + words // 4 if words else 2):
        part = clauses[rng.integers(len(clauses), size=count)]
        glue = join[rng.integers(2, size=count)][:, None] if number else np.full((count, 1), -1, np.int32)
        if not words and number == 1:
            left_out = rng.random(count) > _SECOND_CLAUSE
            part[left_out] = -1
            glue[left_out] = -1
        parts += [glue, part]
    ids = _filled(rng, np.concatenate(parts, axis=1))
    packed = _packed(ids, ids.shape[1])
    return _packed(_cut(packed, words) if words else packed, width)


# Share of sentences with a second clause; gives a mean of 18.7 distinct words.
_SECOND_CLAUSE = 0.79


def _translated(rng: np.random.Generator, ids: Ids, share: float) -> Flags:
    """Make a share of the rows foreign, in place; returns which are written without spaces."""
    glued = np.zeros(len(ids), np.bool_)
    chosen = np.flatnonzero(rng.random(len(ids)) < share)
    languages = rng.integers(len(_SCRIPTS) + 2, size=len(chosen))
    ranges = _vocabulary().ranges
    for number, name in enumerate(_SCRIPTS):
        rows = chosen[languages == number]
        words = ranges[name]
        # A made-up language has a word for each English word, so frequencies stay natural.
        ids[rows] = np.where(ids[rows] >= 0, words.start + ids[rows] * 7 % len(words), -1)
        glued[rows] = name in _WITHOUT_SPACES
    accented = chosen[languages >= len(_SCRIPTS)]
    for at in (0, 2):
        ids[accented, 4 + at] = _vocabulary().draw(rng, "accent", len(accented))
    return glued


def _planted(rng: np.random.Generator, rows: _Rows, start: int, count: int, share: float = _PLANTED) -> None:
    """Overwrite a share of rows[start:start + count] with edits of earlier rows, some of those edits themselves."""
    chosen = np.flatnonzero(rng.random(count) < share) + start
    chosen = chosen[chosen > 0]
    parents = (rng.random(len(chosen)) * chosen).astype(np.int64)
    edits = rng.choice(len(_EDITS), size=len(chosen), p=_EDIT_SHARES)
    ats, values, styles = (
        rng.random((len(chosen), 2)),
        _words(rng, 2 * len(chosen)),
        rng.integers(1, _STYLES, len(chosen)),
    )
    # An edit of an edited row must use its edited text, so edits are made level by level.
    level = _levels(chosen, parents)
    for step in range(int(level.max(initial=0)) + 1):
        now = level == step
        _edit(rows, chosen[now], parents[now], edits[now], ats[now], values.reshape(-1, 2)[now], styles[now])


def _words(rng: np.random.Generator, count: int) -> Ids:
    """Words of any class, for insertions and replacements."""
    kinds = [_vocabulary().draw(rng, kind, count) for kind in ("noun", "adj", "place")]
    return np.stack(kinds)[rng.integers(3, size=count), np.arange(count)]


def _levels(chosen: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of edits of this call between a row and its first unedited ancestor."""
    depth = dict[int, int]()
    for row, parent in zip(chosen.tolist(), parents.tolist(), strict=True):
        depth[row] = depth.get(parent, -1) + 1
    return np.array([depth[row] for row in chosen.tolist()], np.int64)


def _edit(
    rows: _Rows,
    target: NDArray[np.int64],
    parent: NDArray[np.int64],
    edits: NDArray[np.int64],
    ats: NDArray[np.float64],
    values: Ids,
    styles: NDArray[np.int64],
) -> None:
    """Write edited copies of the parents over the targets."""
    ids = rows.ids[parent]
    lengths = np.count_nonzero(ids >= 0, axis=1)
    first, second = ((ats[:, number] * lengths).astype(np.int64) for number in (0, 1))
    line = np.arange(len(ids))

    swapped = _EDITS.index("swap") == edits
    ids[line[swapped], first[swapped]], ids[line[swapped], second[swapped]] = (
        ids[line[swapped], second[swapped]],
        ids[line[swapped], first[swapped]],
    )
    both = _EDITS.index("replace two") == edits
    one = (_EDITS.index("replace") == edits) | both
    ids[line[one], first[one]] = values[one, 0]
    ids[line[both], second[both]] = values[both, 1]
    gone = (_EDITS.index("remove") == edits) & (lengths > 3)
    ids[line[gone], first[gone]] = -1
    added = (_EDITS.index("add") == edits) & (lengths < ids.shape[1])
    ids[line[added], lengths[added]] = values[added, 0]

    rows.ids[target] = _packed(ids, ids.shape[1])
    rows.glued[target] = rows.glued[parent]
    rows.style[target] = np.where(_EDITS.index("restyle") == edits, styles, 0)


def _pieces(n: int, seed: int, words: int | None, foreign: float) -> _Rows:
    """The first n rows as token ids."""
    width = 72 if (words or 0) > 30 else 44
    total = -(-n // _PIECE) * _PIECE
    rows = _Rows(np.full((total, width), -1, np.int32), np.zeros(total, np.int8), np.zeros(total, np.bool_))
    for start in range(0, total, _PIECE):
        rng = np.random.default_rng((seed, words or 0, round(foreign * 1e6), start))
        ids = _drawn(rng, _PIECE, words, width)
        rows.glued[start : start + _PIECE] = _translated(rng, ids, foreign)
        rows.ids[start : start + _PIECE] = ids
        _planted(rng, rows, start, _PIECE)
    return _Rows(rows.ids[:n], rows.style[:n], rows.glued[:n])


def _written(rows: _Rows) -> Iterator[pl.Series]:
    """The rows as text, in pieces."""
    tokens = pl.Series(_grammar()[0])
    for start in range(0, len(rows.ids), _PIECE):
        ids = rows.ids[start : start + _PIECE]
        lengths = np.count_nonzero(ids >= 0, axis=1)
        frame = pl.DataFrame(
            {
                "row": np.repeat(np.arange(len(ids)), lengths),
                "word": tokens.gather(ids[ids >= 0]),
            }
        )
        texts = (
            frame.group_by("row", maintain_order=True)
            .agg("word")
            .select(
                pl.col("word").list.join(" ").str.replace_all(" ,", ",", literal=True).alias("plain"),
                pl.col("word").list.join("").alias("glued"),
                style=pl.Series(rows.style[start : start + _PIECE]),
                is_glued=pl.Series(rows.glued[start : start + _PIECE]),
            )
        )
        yield texts.select(_styled(pl.when("is_glued").then("glued").otherwise("plain")))["persona"]


def _styled(text: pl.Expr) -> pl.Expr:
    """A sentence with the case and punctuation of its style."""
    capital = text.str.slice(0, 1).str.to_uppercase() + text.str.slice(1)
    style = pl.col("style")
    return (
        pl.when(style == 1)
        .then(text.str.to_lowercase())
        .when(style == 2)
        .then(text.str.to_uppercase())
        .when(style == 3)
        .then(capital)
        .when(style == 4)
        .then(capital + "!")
        .when(style == 5)
        .then(pl.lit('"') + capital + '."')
        .otherwise(capital + ".")
        .alias("persona")
    )


def sentences(n: int, seed: int = 0, words: int | None = None, foreign: float = 0.0) -> list[str]:
    """Persona-like sentences; a longer list begins with the rows of a shorter one.

    Args:
        n: number of rows.
        seed: seed of the random rows.
        words: distinct words of each row that is not an edit; None: variable, 18.7 on average.
        foreign: share of rows with accents or in another script, 0 to 1.
    """
    return [text for piece in _written(_pieces(n, seed, words, foreign)) for text in piece.to_list()]


def templates(n: int, seed: int = 0, count: int = 1) -> list[str]:
    """Sentences from few templates of at least 19 words with six slots of 120 words each; 2 % are edits of others."""
    return [text for piece in _written(_templated(n, seed, count)) for text in piece.to_list()]


def _templated(n: int, seed: int, count: int) -> _Rows:
    rng = np.random.default_rng((seed, count))
    tokens = _grammar()[0]
    forms = [_ids(_TEMPLATE.replace("<topic>", "<noun>"), tokens)]
    width = 44
    # Other templates are sentences with six variable words.
    for ids in _drawn(rng, 4 * count, 22, width).tolist() if count > 1 else []:
        fixed = [token for token in ids if token >= 0]
        free = [at for at, token in enumerate(fixed) if token < len(_vocabulary().tokens)]
        if len(free) >= 6 and len(forms) < count:
            for at in rng.choice(free, 6, replace=False):
                fixed[at] = -2 - next(k for k, kind in enumerate(_SLOTS) if fixed[at] in _vocabulary().ranges[kind])
            forms.append(fixed)
    table = np.array([row + [-1] * (width - len(row)) for row in forms], np.int32)
    ids = table[rng.integers(len(table), size=n)]
    for number, kind in enumerate(_SLOTS):
        slots = ids < -1
        slots &= ids == -2 - number
        ids[slots] = _vocabulary().ranges[kind].start + rng.integers(_SLOT_VALUES, size=int(slots.sum()))
    rows = _Rows(ids, np.zeros(n, np.int8), np.zeros(n, np.bool_))
    _planted(rng, rows, 0, n, _PLANTED_IN_TEMPLATES)
    return rows


def identifiers(n: int, seed: int = 0) -> list[str]:
    """Ids of 20 hex digits in the order of the rows, so that every tool has the same first row."""
    tail = np.random.default_rng(seed).bytes(6 * n).hex()
    return [f"{row:08x}{tail[12 * row : 12 * row + 12]}" for row in range(n)]


def frame(texts: Sequence[str], seed: int = 0) -> pl.DataFrame:
    """`(persona_id, persona)`."""
    return pl.DataFrame({"persona_id": identifiers(len(texts), seed), "persona": texts})


def write(path: Path, n: int, seed: int = 0, words: int | None = None, foreign: float = 0.0) -> None:
    """Write sentences as Parquet with the columns persona_id and persona."""
    texts = pl.concat(list(_written(_pieces(n, seed, words, foreign))))
    ids = pl.Series("persona_id", identifiers(n, seed), dtype=pl.String)
    pl.DataFrame([ids, texts.rename("persona")]).write_parquet(path)


def write_templates(path: Path, n: int, seed: int = 0, count: int = 1) -> None:
    """Write templated sentences as Parquet, as `write` does."""
    frame(templates(n, seed, count), seed).write_parquet(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--words", type=int, help="distinct words per row; by default variable")
    parser.add_argument("--foreign", type=float, default=0.0, help="share of rows with accents or in other scripts")
    parser.add_argument("--templates", type=int, default=0, help="number of templates; instead of random sentences")
    chosen = parser.parse_args()
    if chosen.templates:
        write_templates(chosen.out, chosen.rows, chosen.seed, chosen.templates)
    else:
        write(chosen.out, chosen.rows, chosen.seed, chosen.words, chosen.foreign)


if __name__ == "__main__":
    main()
