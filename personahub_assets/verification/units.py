"""Units of quantities: their names, and what they convert to."""

import re
from fractions import Fraction
from typing import NamedTuple


class Unit(NamedTuple):
    """A unit of a dimension: a value times `factor` plus `offset` is in the dimension's base unit."""

    dimension: str
    factor: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)


# Dimension: unit = factor and names; the names of a line are separated by blanks, _ stands for a blank in a name.
_TABLE = """
length   1/1000      mm millimeter millimetre
length   1/100       cm centimeter centimetre
length   1/10        dm decimeter decimetre
length   1           m meter metre
length   1000        km kilometer kilometre
length   254/10000   inch in inches ″
length   3048/10000  ft foot feet ′
length   9144/10000  yd yard
length   1609344/1000 mi mile
area     1/10000     cm^2 sq_cm square_centimeter square_centimetre cm2
area     1           m^2 sq_m square_meter square_metre m2
area     1000000     km^2 sq_km square_kilometer square_kilometre km2
area     10000       ha hectare
area     9290304/100000000 ft^2 sq_ft square_foot square_feet
volume   1/1000000   cm^3 cubic_centimeter cubic_centimetre cc cm3
volume   1/1000000   ml milliliter millilitre
volume   1/100000    cl centiliter centilitre
volume   1/1000      l liter litre
volume   1           m^3 cubic_meter cubic_metre m3
mass     1/1000000   mg milligram
mass     1/1000      g gram gr
mass     1           kg kilogram kilo
mass     1000        t tonne metric_ton
mass     45359237/100000000 lb pound_mass lbs
mass     45359237/1600000000 oz ounce
time     1/1000      ms millisecond
time     1           s sec second
time     60          min minute
time     3600        h hr hour
time     86400       d day
time     604800      wk week
month    1           month mo
month    12          year yr
length/time 1           mps
length/time 1000/3600   kph kmh kmph
length/time 1609344/3600000 mph
angle    1           ° deg degree
angle_r  1           rad radian
temp     1           °c degree_celsius degree_centigrade celsius
dollar   1/100       ¢ cent
dollar   1           $ usd dollar us_dollar us$
euro     1           € eur euro
pound    1/100       pence penny
pound    1           £ gbp pound_sterling
yen      1           ¥ jpy yen
rupee    1           ₹ inr rupee
energy   1           j joule n*m newton_meter newton_metre
energy   1000        kj kilojoule
energy   3600        wh watt_hour w*h
energy   3600000     kwh kilowatt_hour kw*h
power    1           w watt
power    1000        kw kilowatt
force    1           n newton
voltage  1           v volt
current  1           a amp ampere
pressure 1           pa pascal
pressure 1000        kpa kilopascal
frequency 1          hz hertz s^-1 1/s
frequency 1000       khz kilohertz
data     1           byte
data     1000        kb kilobyte
data     1000000     mb megabyte
data     1000000000  gb gigabyte
"""
_SUPERSCRIPTS = str.maketrans({"²": "^2", "³": "^3"})


def _read_table() -> dict[str, Unit]:
    units = {}
    for line in _TABLE.strip().splitlines():
        dimension, factor, *names = line.split()
        for name in names:
            units[name.replace("_", " ")] = Unit(dimension, Fraction(factor))
    units["°f"] = units["degree fahrenheit"] = units["fahrenheit"] = Unit("temp", Fraction(5, 9), Fraction(-160, 9))
    units["k"] = units["kelvin"] = Unit("temp", Fraction(1), Fraction(-27315, 100))
    return units


_UNITS = _read_table()
_LARGE = {"ML", "Mg"}
"""Megalitres and megagrams: without their capitals they would be millilitres and milligrams."""
CURRENCIES = "$€£¥₹¢"
MONEY = frozenset({"dollar", "euro", "pound", "yen", "rupee"})
"""Dimensions of the currencies."""
_WORD_FORMS = (
    (re.compile(r"\s*\bper\b\s*|\s*/\s*"), "/"),
    (re.compile(r"\s*\^\s*"), "^"),
    (re.compile(r"(?<=/second) squared$"), "^2"),
    (re.compile(r"\s+"), " "),
)


def unit_named(name: str) -> Unit | None:
    """The unit of a name in any of its spellings.

    >>> unit_named("kilometres per hour") == unit_named("km/h")
    True
    """
    if name.strip() in _LARGE:
        return None
    name = name.translate(_SUPERSCRIPTS).casefold().strip(" .")
    for pattern, text in _WORD_FORMS:
        name = pattern.sub(text, name)
    name = re.sub(r"^(square|cubic) (\w+)$", lambda match: f"{match[1]} {singular(match[2])}", name)
    name = re.sub(r"^degrees ", "degree ", name).replace("° c", "°c").replace("° f", "°f")
    return _UNITS.get(name) or _UNITS.get(singular(name)) or _quotient(name)


def _quotient(name: str) -> Unit | None:
    """The unit of a name such as km/h."""
    above, slash, below = name.partition("/")
    below, square, power = below.partition("^2")
    units = _UNITS.get(above) or _UNITS.get(singular(above)), _UNITS.get(below) or _UNITS.get(singular(below))
    if not slash or units[0] is None or units[1] is None or power:
        return None
    factor = units[1].factor ** (2 if square else 1)
    return Unit(f"{units[0].dimension}/{units[1].dimension}{square}", units[0].factor / factor)


def singular(word: str) -> str:
    """The word without the ending of an English plural; the same word for both forms.

    >>> singular("boxes"), singular("pennies"), singular("glass")
    ('box', 'penny', 'glass')
    """
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("xes", "ches", "shes", "sses", "oes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith("ss") and len(word) > 2:
        return word[:-1]
    return word
