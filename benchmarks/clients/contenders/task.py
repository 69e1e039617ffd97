"""The work that every contender does: N personas, one structured row each, from the same messages and schema."""

import argparse
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from meter import Meter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

MODEL = "mock"
TIMEOUT_S = 5
TEMPERATURE = 0.9
MAX_TOKENS = 768

_PROMPT = Path(__file__).resolve().parents[3] / "prompts" / "instructions.md"
# Front matter, shared instructions, row template.
_PARTS = _PROMPT.read_text("utf-8").split("---\n")
INSTRUCTIONS = _PARTS[2].strip()
ROW = _PARTS[3].strip()

_WORDS = {
    "adjective": "patient,restless,retired,self-taught,cautious,cheerful,stubborn,widowed,newly-wed,travelling",
    "job": "beekeeper,tram driver,glass blower,tax adviser,midwife,chess teacher,dairy farmer,crane operator,luthier,"
    "court reporter,marine biologist,locksmith,pastry cook,wind turbine technician,bookbinder,dog trainer,notary,"
    "piano tuner,mountain guide,radiologist,puppeteer,translator of poetry,stonemason,lifeguard,cartographer",
    "place": "Lyon,Oaxaca,Tromsø,Kyoto,Accra,Valparaíso,Tbilisi,Cork,Hobart,Fez,Gdańsk,Hanoi,Quito,Turku,Windhoek,"
    "Cardiff,Bergamo,Salvador,Nagpur,Tartu,Izmir,Dakar,Winnipeg,Ghent,Suva",
    "habit": "repairs old radios,keeps a diary of the weather,sings in a choir,collects maps of rivers,grows rye,"
    "restores a wooden boat,photographs bats,writes letters to a brother at sea,learns Basque,runs at dawn,"
    "brews ginger beer,studies the history of locks,carves spoons,trades seeds by post,plays bridge on Thursdays",
    "worry": "the rent of the workshop,a bad knee,the noise of the new bypass,exams next spring,a leaking roof,"
    "the price of flour,two apprentices who quarrel,a lawsuit about a fence,the end of a long lease,failing eyesight",
}
_CHOICES = {name: words.split(",") for name, words in _WORDS.items()}


class Instruction(BaseModel):
    """A request that the persona would make of an AI assistant."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    category: Annotated[str, StringConstraints(min_length=3, max_length=60)] = Field(
        description="Kind of request, such as planning, explanation, editing"
    )
    instruction: Annotated[str, StringConstraints(min_length=20, max_length=800)] = Field(
        description="The request as the persona would type it, specific and complete"
    )


def persona(number: int) -> str:
    """The text of one persona; its number is how the mock server knows it."""
    draw = random.Random(number)
    word = {name: draw.choice(words) for name, words in _CHOICES.items()}
    return (
        f"Persona {number}: a {word['adjective']} {word['job']} of {draw.randint(19, 88)} in {word['place']} "
        f"who {word['habit']} and worries about {word['worry']}."
    )


def user_text(number: int) -> str:
    return ROW.replace("{{ persona }}", persona(number))


def messages(number: int) -> list[dict[str, str]]:
    """The shared instructions, and the persona last."""
    return [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": user_text(number)}]


def options(description: str) -> argparse.Namespace:
    """Read the command line that all contenders share; rows are numbered 1 to `rows`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--url", required=True, help="root of the server, without /v1")
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--window", type=int, required=True, help="requests in flight")
    parser.add_argument("--home", type=Path, required=True, help="folder for what the tool keeps between runs")
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS)
    chosen = parser.parse_args()
    chosen.home.mkdir(parents=True, exist_ok=True)
    return chosen


@dataclass
class Tally:
    """What became of the rows, judged by content: a row is delivered if it fits the schema and names its persona."""

    asked: int
    kept: dict[int, bool] = field(default_factory=dict)
    doubled: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    unexplained: int = 0
    error: str | None = None

    def keep(self, number: int, answer: Any) -> None:
        """Judge a row that the tool handed over as data: a dict, the text of one, or a model."""
        self.doubled += number in self.kept
        self.kept[number] = _right(number, answer)

    def fail(self, reason: str | None) -> None:
        """Note a row that the tool handed over as failed, with its reason if it gave one."""
        if reason:
            self.failed[reason] += 1
        else:
            self.unexplained += 1

    def page(self) -> dict[str, Any]:
        delivered = sum(self.kept.values())
        return {
            "asked": self.asked,
            "delivered": delivered,
            "wrong": len(self.kept) - delivered,
            "doubled": self.doubled,
            "failed": dict(self.failed),
            "unexplained": self.unexplained,
            "missing": self.asked - len(self.kept) - sum(self.failed.values()) - self.unexplained,
            "error": self.error,
        }


def _right(number: int, answer: Any) -> bool:
    try:
        if isinstance(answer, BaseModel):
            answer = answer.model_dump()
        row = Instruction.model_validate_json(answer) if isinstance(answer, str) else Instruction(**answer)
    except (ValidationError, TypeError):
        return False
    named = re.search(r"persona (\d+)\b", row.instruction)
    return named is not None and int(named[1]) == number


def run(
    generate: Callable[[argparse.Namespace, Tally, Meter], None], description: str, packages: Iterable[str]
) -> None:
    """Run a contender and print its one line of JSON.

    `generate` starts and stops the meter around the generation, and hands what came of each row to the tally. If it
    raises, the error is part of the result, with the rows that were handed over until then.
    """
    chosen = options(description)
    tally, meter = Tally(chosen.rows), Meter()
    try:
        generate(chosen, tally, meter)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (what a tool dies of is a result)
        text = " ".join(str(error).split())
        tally.error = f"{type(error).__name__}: {text}"[:160]
    meter.stop()
    line = {**tally.page(), **meter.page(), "versions": {name: version(name) for name in packages}}
    # On a line of its own, even after a progress bar.
    print("\n" + json.dumps(line), flush=True)
    sys.stdout.flush()
