"""Classify an error by the server's words, and by its status only if there are no words.

A status alone proves little: servers report an empty account with 400, 402, 403, 429, 500 and within a 200. The rules
match words, in the order of `_RULES`, from the certain to the likely.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from personahub_assets.core.waits import asked_wait, limit_reset
from personahub_assets.endpoints.error_text import ErrorText, decoded, read_error, readable

__all__ = ["Kind", "Verdict", "judge", "judge_error", "readable"]

Kind = Literal["fault", "limit", "loading", "suspect", "account", "setup", "row", "answer"]
Reason = Literal["too_long", "content_filtered", "invalid_json"]


@dataclass(frozen=True)
class Verdict:
    """The meaning of an error reply for the request and for the run.

    Attributes:
        kind: fault: can be temporary; it counts as an attempt of the request.
            limit, loading: wait; uses no attempt of the request.
            account, setup: every request would fail with it; no row is rejected.
            row: certainly about this request. answer: about an answer that was generated and paid.
            suspect: about the request or the endpoint; the pattern over requests decides.
        message: the status and the server's message; one line, at most about 400 characters.
        reason: for row and answer.
        wait_s: seconds that the server asks to wait; for fault, limit and loading.
        answer: the text that was generated and refused.
        remedy: one sentence; for account and setup, for a row that a larger quota would help, and for a suspect 403.
    """

    kind: Kind
    message: str
    reason: Reason | None = None
    wait_s: float | None = None
    answer: str = ""
    remedy: str = ""


def judge(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """Judge a reply whose status is not 200; never raises."""
    return _judged(_Reply(status, headers, body, read_error(body)), f"{status}: ")


def judge_error(code: int | None, message: str, body: bytes) -> Verdict:
    """Judge an error within a reply of status 200.

    Args:
        code: of the error object; counts as a status if it is one.
        message: the caller's text of the error, used if `body` has none.
        body: the whole reply.
    """
    error = read_error(body)
    spoken = read_error(message.encode("utf-8", "replace"))
    if not error.words.strip():
        error = spoken
    is_status = code is not None and 400 <= code < 600
    reply = _Reply(code if code is not None and is_status else 200, {}, body, error, spoken.words)
    return _judged(reply, f"{code}: " if code is not None else "", spoken.sentence)


@dataclass
class _Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes
    error: ErrorText
    extra: str = ""

    @cached_property
    def words(self) -> str:
        words = f"{self.extra}\n{self.error.words}"
        if len(words) > _LONGEST_HEAD + _LONGEST_TAIL:
            words = f"{words[:_LONGEST_HEAD]}\n{words[-_LONGEST_TAIL:]}"
        return _normalised(words)

    @cached_property
    def sentences(self) -> list[str]:
        return [sentence for sentence in _SENTENCE_END.split(self.words) if sentence]

    @cached_property
    def statuses(self) -> frozenset[int]:
        return self.error.statuses | {self.status}

    @cached_property
    def asked_s(self) -> float | None:
        return asked_wait(self.headers, decoded(self.body) + "\n" + self.extra)

    @cached_property
    def is_told_to_slow_down(self) -> bool:
        return 429 in self.statuses or bool(_RATE.search(self.words))

    def says(self, *patterns: re.Pattern[str]) -> bool:
        return any(pattern.search(self.words) for pattern in patterns)


def _judged(reply: _Reply, prefix: str, otherwise: str = "") -> Verdict:
    kind, reason, remedy = next(filter(None, (rule(reply) for rule in _RULES)))
    wait_s = reply.asked_s if kind in ("fault", "limit", "loading") else None
    if kind == "limit":
        wait_s = wait_s or limit_reset(reply.headers)
    message = prefix + (reply.error.sentence or otherwise or "no text")
    answer = reply.error.answer or _parser_input(reply) if kind == "answer" else ""
    return Verdict(kind, message, reason, wait_s, answer, remedy)


_Finding = tuple[Kind, Reason | None, str]
_Rule = Callable[[_Reply], _Finding | None]


def _pattern(*alternatives: str) -> re.Pattern[str]:
    """Alternatives, in words as `_normalised` gives them; `~` stands for up to 60 characters of a sentence.

    A point inside a word, such as in a model's name, does not end a sentence.
    """
    return re.compile("|".join(alternatives).replace("~", r"(?:[^.;\n]|\.(?=\w)){0,60}?"))


_LONGEST_HEAD, _LONGEST_TAIL = 16_384, 8_192  # characters matched; 64 KiB would take a second
_SENTENCE_END = re.compile(r"[.!?;](?=\s|$)|[\n。；！？]")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_JOINTS = re.compile(r"[_\-/`'\"’‘“”*\\]+")
_BLANKS = re.compile(r"[^\S\n]+")


def _normalised(text: str) -> str:
    """Words of sentences and codes alike: ContextWindowExceeded, context_window_exceeded → context window exceeded."""
    return _BLANKS.sub(" ", _JOINTS.sub(" ", _CAMEL.sub(" ", text)).lower())


# ---- a verdict about an answer -------------------------------------------------------------------------------------
_ANSWER = _pattern(
    r"json validate failed",
    r"failed to (?:generate|produce|return) (?:a )?(?:valid )?(?:json|tool|function)",
    r"failed to (?:call a function|validate (?:the )?generated|parse (?:the )?(?:tool call|function call|model|"
    r"generated))",
    r"tool use failed|tool call validation failed|output parse failed|output parsing (?:error|failed)",
    r"(?:model|generated)(?: s)? (?:output|response|answer|text|content|json)~(?:could not|can ?not|cannot|failed|"
    r"unable|not valid|invalid|did not|does not)~(?:pars|valid|match|json|conform)",
    r"(?:model|llm) (?:generated|returned|produced|output) (?:an? )?(?:invalid|malformed|output that)",
    r"failed to parse input at pos \d",  # llama.cpp, about the model's output
)
_PARSER_INPUT = re.compile(r"Failed to parse input at pos \d+: ?(.*)", re.DOTALL)


def _about_answer(reply: _Reply) -> _Finding | None:
    return ("answer", "invalid_json", "") if reply.error.answer or reply.says(_ANSWER) else None


def _parser_input(reply: _Reply) -> str:
    match = _PARSER_INPUT.search(reply.error.words)
    return match[1] if match else ""


# ---- account -------------------------------------------------------------------------------------------------------
_SPENT = (
    r"(?:insufficient|not enough|no|low|negative|zero|exhausted|depleted|used up(?: all)?(?: of)?|"
    r"exceeded|consumed|out of|lack(?:s|ing)?(?: of)?|need(?:s)? more|"
    r"requires? (?:more|additional|purchasing|at least~))"
)
_MONEY = r"(?:credits?|balance|funds?|wallet|money)"
_EMPTY_ACCOUNT = _pattern(
    rf"\b{_SPENT} (?:\w+ ){{0,4}}{_MONEY}\b",
    rf"\b{_MONEY}(?: \w+){{0,4}} (?:is |are |has |have |been |was |too )*(?:insufficient|not enough|too low|low|"
    rf"exhausted|depleted|empty|used up|negative|run out|expired|ran out|reached)\b",
    r"\bpayment (?:method )?(?:is |was |has )?(?:required|failed|overdue|declined|past due|needed)",
    r"\bunpaid (?:invoice|bill)",
    r"\binvoices? (?:is |are )?(?:over ?due|unpaid|past due)",
    r"\b(?:overdue|over due|in arrears|arrears|arrearage|accountoverdue)\b",
    r"\bcan only afford\b",
    r"余额不足|餘額不足|余额已|欠费|欠費|额度不足|额度已|额度用|额度失败|额度耗尽|剩余额度",
    r"\b(?:no|missing|without) (?:valid )?(?:payment method|credit card)\b|\benable billing\b|"
    r"\bbilling (?:\w+ ){1,3}enabled\b",
    r"\b(?:account|organi[sz]ation|team|project|user|you|key)\b~\brun out of\b|"
    r"\bran out of (?:credits?|funds|quota|money)\b",
    r"\b(?:token|resource|prepaid|usage) (?:package|pack|bundle)s? (?:\w+ ){0,2}(?:exhausted|"
    r"used up|expired|insufficient)\b",
    r"\b(?:solde|crédits?|guthaben|saldo|créditos?|fondos|credito|баланс\w*|"
    r"средств\w*)\b~(?:insuffisant|épuisé|aufgebraucht|"
    r"erschöpft|nicht ausreichend|reicht nicht|insuficiente|agotad|esgotad|insufficiente|esaurit|недостаточн|исчерпан)",
    r"(?:недостаточно|нет) (?:\w+ )?средств|\b(?:nicht genug|nicht genügend|kein|unzureichendes) guthaben\b",
    r"\b(?:plus|pas assez) de crédits?\b|\bsin (?:saldo|créditos?)\b|クレジットが(?:不足|なく)|크레딧.{0,6}(?:부족|"
    r"소진)",
    r"配额不足|资源包(?:已|用|不足)|套餐(?:已|用|余)|无可用资源包|잔액이? 부족|残高不足|残高が不足",
)
_BUDGET = _pattern(
    r"(?<!thinking )(?<!reasoning )(?<!token )\bbudget\b~\b(?:exceeded|exhausted|reached|spent|used up)",
    r"\b(?:exceed(?:ed|s|ing)?|over|above|reached|crossed)~budget\b|\bmax budget\b",
    r"\b(?:spend(?:ing)?|cost|billing|usage) (?:hard )?(?:limit|cap|threshold)s?\b~(?:reached|exceeded|hit|exhausted|"
    r"met)",
    r"\b(?:reached|exceed(?:ed|s)?|hit|over)~(?:spend(?:ing)?|cost|billing|monthly (?:usage|spend)|set inference|"
    r"api usage|usage) (?:hard )?(?:limit|cap)",
    r"\b(?:billing hard limit|set limit exceeded|hard limit reached|spend limit)\b",
    r"\b(?:calls|requests|queries|messages|tokens) (?:per |a |each )?month\b",
    r"\bmodel service has been paused|安全体验模式",
)
_KEY_LIMIT = _pattern(
    r"\bkey (?:\w+ ){0,2}limit (?:has been )?(?:exceeded|reached)",
    r"\bkey~(?:exceeded|reached|over|hit)~(?:limit|quota|budget)",
    r"\bkey~(?:quota|limit) (?:is |was |has been )?(?:exceeded|exhausted|used up)",
    r"令牌额度|令牌.{0,6}额度已",
)
_SUSPENDED = _pattern(
    r"\b(?:account|organi[sz]ation|workspace|project|subscription|team|tenant|user|billing)\b~\b(?:de ?activated|"
    r"suspended|(?<!it is )disabled|restricted|terminated|banned|locked|frozen|closed|delinquent|not active|inactive|"
    r"flagged|blocked|not (?:be )?in good standing|on hold)\b",
    r"\b(?:deactivated|suspended|disabled|restricted|terminated|banned|locked|frozen) (?:account|organi[sz]ation|"
    r"workspace|project|subscription|user)\b",
    r"\bgood standing\b|\baccess terminated\b|\bblocked api access\b|\borgani[sz]ation restricted\b",
    r"\baccount deactivated\b",
    r"(?:账[号户]|帐[号户]|用户)(?:已)?.{0,6}(?:停用|冻结|封禁|禁用|暂停|欠费|异常|停服|被锁)",
)
_UNLICENSED = _pattern(
    r"\blicen[sc]e\b~\b(?:expired|invalid|missing|required|not (?:valid|found|active)|exceeded|has ended|"
    r"validation failed|check failed)",
    r"\b(?:invalid|expired|missing|no(?: valid| active)?|unlicensed|exceeds? your) licen[sc]e\b|\bunlicensed\b",
    r"\b(?:subscription|trial|free tier|plan)\b~\b(?:expired|has ended|is over|ended|cancell?ed|inactive|required|"
    r"lapsed|does not (?:include|allow|cover|support))",
    r"\b(?:no active|active|paid|valid) (?:subscription|plan)\b~(?:required|needed|found)?",
    r"\brequires? an? (?:active |paid )*(?:subscription|plan)\b",
    r"\bupgrade (?:to|your) (?:a )?(?:\w+ )?(?:plan|subscription|account|tier)\b",
    r"套餐已?(?:到期|过期)|已到期|服务未开通|未开通",
)
_QUOTA = _pattern(
    r"\binsufficient quota\b|\b(?:exceeded|exhausted|used(?: up)?|out of|reached|over|consumed)~\bquota\b",
    r"\bquota\b(?: \w+){0,6} (?:is |has been |was )?(?:exceeded|exhausted|insufficient|used up|reached|depleted|"
    r"ran out)",
    r"\bcheck your plan and billing\b|\bexceeded current quota\b",
    r"\b(?:purchase|buy|add) (?:more |additional )?credits?\b|\badd a payment method\b|\btop(?: |ped )?up\b",
    r"\brecharge\b",
    r"充值|免费额度|配额已|用完|free allocated quota|\ballocation quota\b",
)
_ZERO = re.compile(r"\blimit: ?0\b|\bquota value\W{0,4}0\b")

_REMEDIES = (
    (_KEY_LIMIT, "Raise the limit of the key, or set PERSONAHUB_LLM_API_KEY to another one, and run again."),
    (_BUDGET, "Raise the budget or spending limit of the account or key, and run again."),
    (
        _SUSPENDED,
        "Ask the provider why the account is restricted, or set PERSONAHUB_LLM_API_KEY to the key of another one.",
    ),
    (_UNLICENSED, "Renew the license or subscription, or use a model that it covers, and run again."),
)
_TOP_UP = "Top up the account's credit, or set PERSONAHUB_LLM_API_KEY to the key of another one, and run again."


def _account(reply: _Reply) -> _Finding | None:
    if 402 in reply.statuses or (reply.says(_KEY_LIMIT, _EMPTY_ACCOUNT) and not _is_daily(reply)):
        return _at_account(reply)
    is_about_rows = bool(_FILTERED.search(reply.words)) and not reply.says(_SUSPENDED)
    if reply.says(_BUDGET, _SUSPENDED, _UNLICENSED) and not is_about_rows and not _is_temporary(reply):
        return _at_account(reply)
    return None


def _quota(reply: _Reply) -> _Finding | None:
    """A quota that does not come back with time: the message names no time and no period."""
    if reply.status in (404, 413) or not reply.says(_QUOTA):
        return None
    return None if _is_temporary(reply) and not _ZERO.search(reply.words) else _at_account(reply)


def _at_account(reply: _Reply) -> _Finding:
    return "account", None, next((remedy for pattern, remedy in _REMEDIES if reply.says(pattern)), _TOP_UP)


def _is_daily(reply: _Reply) -> bool:
    """A limit per day whose message advertises credits: it comes back, unlike a spent credit."""
    return bool(_PER_TIME.search(reply.words)) and reply.says(_PLAINLY_RATE) and not reply.says(_PLAINLY_EMPTY)


def _is_temporary(reply: _Reply) -> bool:
    is_rate = reply.says(_PLAINLY_RATE, _PER_TIME) and not reply.says(_KEY_LIMIT, _BUDGET)
    return bool(reply.asked_s) or is_rate or bool(limit_reset(reply.headers))


_PLAINLY_EMPTY = _pattern(r"\binsufficient\b|\btoo low\b|余额不足|欠费|\barrear")

# ---- rates ---------------------------------------------------------------------------------------------------------
_PER_TIME = _pattern(
    r"\bper (?:\d+ )?(?:s|sec|second|min|minute|hour|day|week)s?\b",
    r"\b(?:tokens?|requests?|queries|calls) (?:min|minute|day|hour|second|sec)\b",
    r"\b[tr]p[mdsh]\b|\bi?[to]?qps\b|每(?:分钟|秒|天|小时)|当日|\bper ?(?:minute|day|hour|second)",
    r"\b(?:daily|hourly|weekly) (?:\w+ ){0,2}(?:limit|quota|usage|allowance|requests?|tokens?)\b",
)
_PLAINLY_RATE = _pattern(
    r"\brate ?limit|\brate exceeded",
    r"\btoo many (?:concurrent |parallel |simultaneous |pending )?(?:requests|calls|connections)\b|\bthrottl",
    r"\bslow ?down\b|\btoo (?:quickly|fast|frequent(?:ly)?|often)\b|\b(?:request|call|token)s? rate\b",
    r"\bconcurren(?:cy|t) (?:\w+ )?(?:limit|requests?|quota)|\brequests? limit",
    r"\btrop de (?:requêtes|demandes|appels)\b|\bzu viele (?:anfragen|anforderungen)\b|"
    r"\btroppe richieste\b|\bratenlimit",
    r"\b(?:demasiad[ao]s|muchas|muitas) (?:solicitudes|peticiones|solicitações|requisições)\b|слишком много запросов",
    r"\blimite de (?:requêtes|solicitudes|taxa|débit)\b|превышен\w* (?:лимит|количество) запросов|レート制限",
    r"(?:リクエスト|アクセス)(?:数)?が(?:多|上限)|요청(?:이|수가)? (?:너무 많|초과)",
)
_OVERLOAD = _pattern(
    r"\boverload(?:ed|ing)?\b",
    r"\b(?:at|over|out of|no|exceeds?|exceeded|insufficient|not enough|limited|reached) (?:\w+ ){0,2}capacity\b",
    r"\bcapacity (?:\w+ ){0,3}(?:exceeded|exhausted|reached|unavailable)|\bunder capacity",
    r"\bhigh (?:demand|load|traffic)\b|\bheavy (?:load|traffic)\b",
    r"\b(?:server|model|engine|service|system|worker|gpu)s? (?:is |are )?(?:\w+ )?busy\b|\bbusy\b",
    r"\bresource (?:has been )?exhausted\b|\bqueue (?:is |size )?(?:full|limit|exceeded)",
    r"\bqueue (?:size|length)~exceed|\b(?:maximum|max) (?:pending|queued|concurrent|in flight)",
    r"\bmax(?:imum)? (?:\w+ )?(?:queue|concurrency)",
    r"\bno (?:slots?|workers?|instances?) (?:\w+ )?available\b|\bno deployments? available\b",
    r"\b(?:slots|workers|gpus?|instances|replicas) (?:are |is )(?:\w+ )?(?:in use|occupied|taken)\b",
    r"\b(?:position|place) in (?:the )?queue\b|\bqueue position\b",
    r"\bplease (?:slow|wait|reduce (?:your|the) (?:request|call))",
    r"频率|频繁|限流|限速|并发|繁忙|过载|负载已?(?:饱和|过高)",
    r"访问量过大|请求(?:数|量)?过多|请求过快|速率|流控|混雑|리소스|요청이 너무 많",
)
_RATE = _pattern(_PER_TIME.pattern, _PLAINLY_RATE.pattern, _OVERLOAD.pattern, r"\bquota\b")
_REACHED = _pattern(r"\bexceed\w*\b|\breached\b|\blimit\b|\btoo many\b")
_RATE_REMEDY = (
    'The request is larger than what the account may use per minute: shorten it (generation.over_long = "cut"), '
    "lower max_tokens, or raise the account's limit."
)


def _limit(reply: _Reply) -> _Finding | None:
    if reply.statuses & {429, 529, 420} or reply.says(_PLAINLY_RATE, _OVERLOAD):
        return "limit", None, ""
    comes_back = reply.says(_QUOTA, _BUDGET) and _is_temporary(reply)
    return ("limit", None, "") if comes_back or (reply.says(_PER_TIME) and reply.says(_REACHED)) else None


# ---- too long ------------------------------------------------------------------------------------------------------
_CONTEXT = _pattern(
    r"\bcontext(?: |)(?:length|window|size|limit|tokens?|overflow|exceeded)\b|\b(?:maximum|max|model s) context\b",
    r"\bcontext is (?:too|full)|\bexceed\w*~context\b|\bn(?:um)? ctx\b",
    r"\bmax(?:imum)? (?:allowed |supported |available |possible |total )?(?:model len(?:gth)?|"
    r"seq(?:uence)? len(?:gth)?|input (?:len(?:gth)?|tokens?|size)|prompt (?:len(?:gth)?|tokens?)|"
    r"position embeddings|total tokens?|num tokens)\b",
    r"\brange of (?:input|prompt|messages?) (?:length|tokens)|\binput length\b~\b(?:should|must|exceed)",
    r"\binputs? (?:tokens? )?\+",
    r"\bmust have less than \d+ tokens|\bprompt(?: is|) too long\b|\binput (?:is )?too long\b",
    r"上下文(?:长度|窗口|超)|最大(?:上下文|输入|长度|token)|(?:输入|提示词?|文本|内容|消息|请求|长度|tokens?).{0,12}(?:超出|超过|超长|过长|"
    r"太长)",
    r"(?:超出|超过).{0,12}(?:上下文|最大长度|长度限制|token)|超长|超出长度",
    r"コンテキスト|入力が長すぎ|контекст|слишком длинн|demasiado larg|trop long|長すぎます|너무 깁니다",
    r"\b(?:longueur|longitud|länge|comprimento|lunghezza|длина)\b~(?:dépasse|excede|supera|überschreitet|превышает)",
    r"(?:dépasse|excede|überschreitet|превышает)~(?:tokens?|токен\w*|context[eo]|kontext)",
    r"zu lang\b|컨텍스트",
)
_NEGATIVE_ROOM = _pattern(
    r"\bmax (?:\w+ )?tokens\b~(?:at least|greater than|positive|must be|>|>=|≥)~\bgot ?(?:-| )?\d",
    r"\bmax (?:\w+ )?tokens\b~negative",
)
_LONG_SUBJECT = _pattern(
    r"\btokens?\b|\bprompts?\b|\binputs?\b|\bmessages?\b|\bcontext\b|\bsequence\b|\bconversation\b|\bcontent\b",
    r"\brequest(?:ed)?\b|\bpayload\b|\bbody\b|\bentity\b|\bdocument\b|\bquery\b|\btext\b|\bcharacters?\b|\blength\b",
)
_SURELY_LONG_SUBJECT = _pattern(
    r"\btokens?\b|\bprompts?\b|\binputs?\b|\bcontext\b|\b(?:sequence|input|text|message) (?:length|size)\b",
    r"\bmessages\b|\bconversation\b",
)
_LONG_PREDICATE = _pattern(
    r"\btoo (?:long|large|big|many)\b|\bexceed\w*|\b(?:longer|larger|greater|bigger|more) than\b",
    r"\bover (?:the |our |your )?(?:\w+ )?(?:limit|maximum)\b|\babove (?:the )?(?:\w+ )?(?:limit|maximum)\b",
    r"\bbeyond\b|\bsurpass\w*",
    r"\b(?:must|should|has to|needs to|can ?not|may not) (?:be )?(?:<=|<|≤|less|smaller|shorter|fewer|at most|under|"
    r"below|have at most|have fewer|have less|exceed|fit|contain (?:more|at most))",
    r"\b(?:does not|doesn t|do not|will not|won t|can ?not|cannot|not) fit\b|\boverflow\w*",
    r"\bnot enough (?:room|space)\b|\bonly supports?\b|\bsupports? (?:only )?up to\b|\blimit (?:is|of) \d",
    r"\blimit exceeded\b|\bhave at most\b|\ballows? (?:only|at most|up to|a maximum)\b|\bat most \d|\bonly has \d",
    r"\bup to \d",
    r"\bmaximum (?:of|is) \d|(?<![-=])> ?(?:the )?(?:model|max\w*|limit)\b",
)
_SHORTEN = _pattern(
    r"\b(?:reduce|shorten|truncate|trim|decrease|cut)\b(?: (?!max\b|maximum\b|output\b|completion\b|response\b|"
    r"schema\b)\w+){0,4} (?:prompts?|inputs?|messages?|text|context|conversation|documents?)\b",
    r"\b(?:reduce|shorten|decrease)\b(?: \w+){0,2} length\b(?! of (?:the |your )?(?:max|output|completion|response|"
    r"schema|stop))",
    r"\buse a shorter\b|\btry a shorter\b",
)
_OTHER_SUBJECT = _pattern(
    r"\bschema\b|\bgrammar\b|\bresponse format\b|\bpropert(?:y|ies)\b|\bnesting\b|\benum\b|\bregex\b|\bpattern\b",
    r"\bstop\b|\bmetadata\b|\bimages?\b|\baudio\b|\bfiles?\b|\btemperature\b|\btop [pk]\b|\blogprobs\b|\bseed\b",
    r"\bbatch\b|\bpenalty\b|\bretries\b|\btime(?:d)? ?out\b|\bdeadline\b|\bseconds\b|\bmemory\b|\bcookie\b|\bheader\b",
    r"\bredirects\b|\brecursion\b|\bmax length\b|\bmin length\b|\bfunction name\b|\btool choice\b|\bconnections?\b",
    r"\binput should be (?:less|greater)\b|\bmax tokens\b|\bmax (?:new|completion|output) tokens\b",
    r"\bcompletion tokens\b|\boutput tokens\b|\bn_?choices\b|\brange of\b",
)
_SURELY_INPUT = _pattern(
    r"\bprompts?\b|\binput tokens?\b|\binput length\b|\bmessages\b|\bcontext\b|\binputs? (?:tokens? )?\+|\btotal\b",
)
_REQUESTED = re.compile(r"\blimit\D{0,12}(\d[\d,]*)[^\n]{0,80}?\brequested\D{0,20}(\d[\d,]*)")
_LARGE_REQUEST = _pattern(
    r"\brequest (?:is )?too large\b|\breduce your message size\b|\btokens must be reduced\b|\bsingle request~exceed",
)


def _too_long(reply: _Reply) -> _Finding | None:
    too_long: _Finding = ("row", "too_long", "")
    if reply.is_told_to_slow_down and not (reply.says(_CONTEXT) and not reply.says(_PER_TIME, _PLAINLY_RATE)):
        # A request larger than the limit of a whole minute never fits, however long the wait. The remedy names both
        # ways out: a shorter request, or a higher tier.
        return ("row", "too_long", _RATE_REMEDY) if _is_above_rate(reply) else None
    is_length = reply.says(_CONTEXT, _NEGATIVE_ROOM, _SHORTEN) or any(map(_is_too_long(reply.status), reply.sentences))
    if is_length and reply.error.parameter.lower() not in ("max_tokens", "max_completion_tokens"):
        return too_long
    if reply.says(_CONTEXT, _NEGATIVE_ROOM):
        return too_long
    return too_long if 413 in reply.statuses else None


def _is_above_rate(reply: _Reply) -> bool:
    if numbers := _REQUESTED.search(reply.words):
        limit, requested = (int(number.replace(",", "")) for number in numbers.groups())
        return requested > limit
    return 413 in reply.statuses or (reply.says(_LARGE_REQUEST) and not reply.asked_s)


def _is_too_long(status: int) -> Callable[[str], bool]:
    subject = _SURELY_LONG_SUBJECT if status >= 500 or status < 400 else _LONG_SUBJECT

    def says(sentence: str) -> bool:
        if _OTHER_SUBJECT.search(sentence) and not _SURELY_INPUT.search(sentence):
            return False
        return bool(subject.search(sentence) and _LONG_PREDICATE.search(sentence))

    return says


# ---- filtered ------------------------------------------------------------------------------------------------------
_FILTERED = _pattern(
    r"\bcontent (?:was |is |has been )?(?:filter(?:ed|ing|s)?|blocked|flagged|moderat\w+|violat\w+)\b",
    r"\b(?:input|prompt|response|output|request|answer|message|text)s?\b~\b(?:was|were|is|has been|been|"
    r"got) (?:\w+ )?(?:filtered|flagged|blocked|moderated)\b",
    r"\bcontent (?:management |safety |moderation |usage )?polic(?:y|ies)\b|\bcontent (?:exists )?risk\b",
    r"\brisk(?:y)? content\b|\bcontent safety\b|\bcontent moderation\b|\bmoderation\b",
    r"\bresponsible ?ai\b|\bdata inspection\b|\binappropriate\b|\bprohibited content\b",
    r"\bsensitive (?:content|word|information|text|data|topic)|\b(?:new|input|output) sensitive\b|\bharmful\b",
    r"\bguardrail|\bnsfw\b|\bhate speech\b|\bpolicy check failed\b|\bcontent rules\b|\bunsafe\b|\bjailbreak\b",
    r"\bviolat\w+\b~\b(?:polic(?:y|ies)|guidelines?|terms|rules|safety|usage)\b",
    r"\b(?:usage|safety|use) (?:polic(?:y|ies)|guidelines?)\b~violat|\bpolicy violation\b",
    r"\b(?:usage|content|safety) guidelines?\b",
    r"\bsafety (?:check|setting|filter|system|reason|policy|rating|violation|classifier)",
    r"\bblocked (?:by|due to|for|because of|reason)~(?:safety|content|policy|guardrail|moderation|filter|prohibited|"
    r"harm|shield)",
    r"\bblock ?reason\b|\bshield\b~\b(?:block|flag)|\brecitation\b|\bflagged (?:for|as|by)\b",
    r"\b(?:contenu|inhalt\w*|contenido|conteúdo|contenuto)\b~(?:bloqué|filtré|inapproprié|blockiert|"
    r"gefiltert|unangemessen|"
    r"bloquead|filtrado|inapropiad|impróprio|bloccato)|inhaltsfilter|\bfiltre de (?:sécurité|contenu)\b",
    r"\bfiltro de (?:contenido|conteúdo|seguridad|segurança)\b|コンテンツ(?:フィルタ|ポリシー)|ポリシーに違反|"
    r"контент.{0,20}(?:заблок|запрещ)",
    r"敏感|违规|违法|不安全|内容(?:审核|安全|过滤|风险|不合规)|涉(?:及|嫌)|审核不通过|风险内容|안전|不適切",
)
_ALLOWED_WITHOUT = _pattern(
    r"\bdata policy\b|\bno endpoints\b|\bcors\b|\bnetwork\b|\bip address|\bwaf\b|\bfirewall\b|\bray id\b",
    r"\bcontent filter(?:ing)? (?:service|system|error|is)~(?:unavailable|error|timed out|failed)",
    r"\bmoderation (?:service|api|endpoint)~(?:unavailable|error|timed out|failed|down)",
)


def _filtered(reply: _Reply) -> _Finding | None:
    is_filter = reply.says(_FILTERED) and not reply.error.is_page and not reply.says(_ALLOWED_WITHOUT)
    return ("row", "content_filtered", "") if is_filter and reply.status not in (401, 404) else None


# ---- loading -------------------------------------------------------------------------------------------------------
_LOADING = _pattern(
    r"(?<!error )(?<!failed )(?<!while )(?<!when )\bloading (?:the |a )?(?:model|weights|checkpoint)",
    r"\bmodel~\bis (?:\w+ )?(?:loading|being loaded|starting|initiali[sz]ing|warming|not ready|waking|booting|"
    r"deploying|downloading|being (?:deployed|downloaded|pulled|started))\b",
    r"\b(?:is|still|currently) (?:\w+ )?(?:loading|starting(?: up)?|warming(?: up)?|initiali[sz]ing|booting|"
    r"waking up)\b",
    r"\bwarm(?:ing)? (?:it |the model )?up\b|\bmodel to (?:load|start|be ready|become ready)\b|\bmodel is cold\b",
    r"\bmodel loading\b(?! (?:failed|error))|\bbeing (?:loaded|provisioned|booted|warmed|initiali[sz]ed)\b",
    r"\bcold ?start|\bstarting up\b|\bscal(?:ing|ed?) (?:up|(?:from|to) zero)\b|\bspinning up\b|\bprovisioning\b",
    r"\bestimated time\b",
    r"\b(?:server|service|engine|model|endpoint|deployment|instance|replica|container)s?\b(?: \S+){0,4} (?:is |"
    r"are )?not (?:yet )?ready\b",
    r"\bno ready (?:replicas?|pods?|instances?|upstream)|\bmodel (?:is )?not ready\b",
    r"\bis paused and (?:is )?(?:starting|resuming)|\bqueued\b",
    r"\b(?:modèle|modell|modelo|modello)\b~(?:en cours de chargement|wird (?:noch |gerade )?geladen|"
    r"se está cargando|cargando|"
    r"sendo carregado|in caricamento)|読み込み中|起動中|загружается|загрузк[аи] модели",
    r"加载中|正在加载|启动中|正在启动|预热|初始化中|ロード中|로딩",
)


def _loading(reply: _Reply) -> _Finding | None:
    return ("loading", None, "") if reply.says(_LOADING) and reply.status not in (401, 402) else None


# ---- setup ---------------------------------------------------------------------------------------------------------
_STOPPED = _pattern(
    r"\bmodel\b~\b(?:has )?(?:crashed|is unloaded|was unloaded|unloaded|has been unloaded|not loaded|is not loaded|"
    r"is not (?:running|started)|has exited|was stopped|has stopped)\b",
    r"\bno models? (?:is |are |currently )*(?:loaded|running|available)|\bmodel crashed\b|\bmodel unloaded\b",
    r"\bmodel not loaded\b",
    r"\b(?:failed|unable|error) (?:to )?(?:load|loading|start|starting) (?:the )?(?:model|llm|engine)",
    r"\berror loading model|\brequires? more (?:system |gpu |available )?memory|\bengine (?:core )?(?:is )?dead",
    r"\benginedead|\bengine dead|\bengine core~(?:died|exited|issue)|\bbackground loop (?:has|is)",
    r"\bmodel failed to load\b|\brunner\b~\b(?:stopped|exited|not running)\b",
    r"\bengine (?:\w+ )?(?:loop |process )?(?:is |has )?(?:dead|died|stopped|crashed)\b",
    r"\bendpoint~\b(?:is|has been|was) (?:paused|stopped|offline|suspended|disabled|deleted|scaled down)",
    r"\b(?:app|deployment|space|pod|instance) (?:is |was |has been )?(?:stopped|paused|sleeping|deleted)",
    r"模型(?:未加载|未启动|已下线|已停用)",
)
_MODEL = r"\bmodels?\b"
_NO_MODEL = _pattern(
    rf"{_MODEL}~\b(?:does not exist|doesn t exist|do not exist|not found|could not be found|is unknown|is(?: not|"
    rf"n t) (?:found|served|hosted|deployed|installed|registered|recogni[sz]ed|a valid|valid|available|supported|"
    rf"activated|open|enabled)|not available|has been (?:deprecated|decommissioned|retired|removed|disabled|deleted)|"
    rf"is (?:deprecated|decommissioned|retired|not open|no longer)|no longer (?:available|supported|exists))",
    rf"{_MODEL} (?:identifier|id|name)\b~\b(?:is |are )?(?:invalid|unknown|wrong|incorrect)",
    rf"{_MODEL}~\b(?:is|has been) deprecated|{_MODEL}~\bisn t (?:supported|available)",
    r"\b(?:modèle|modell|modelo|modello|модель)\b~(?:n existe pas|introuvable|non trouvé|"
    r"nicht gefunden|existiert nicht|nicht "
    r"vorhanden|nicht verfügbar|no existe|no se encontr|no encontrado|não existe|não encontrado|"
    r"non esiste|non trovato|не найден|"
    r"не существует)|モデル.{0,12}(?:見つか|存在し|サポートされて)",
    rf"\b(?:unknown|invalid|unsupported|unrecogni[sz]ed|no such|missing|nonexistent) {_MODEL}",
    r"\b(?:could not|can ?not|can t|unable to) (?:find|locate|resolve) (?:the )?model\b",
    r"\bmodel not (?:found|open|supported|available|exist)",
    r"\bno (?:endpoints?|provider|providers|deployments?|channel|route)s? (?:\w+ )?(?:found|available|for|that)",
    r"\bnot a (?:valid|chat|served) model|\bmodel decommissioned|\bpull(?:ing)? (?:the model|it) first",
    r"\bdeployment not found|\bdeployment\b~(?:does not exist|not found)|\bmodel id\b~invalid",
    r"\binvalid endpoint or model|\bunknown model",
    r"模型.{0,20}(?:不存在|未找到|不支持|未开通|已下架|无权)|无可用渠道|无可用的?渠道|not exist",
)
_KEY = _pattern(
    r"\b(?:invalid|incorrect|wrong|missing|no|expired|revoked|unknown|malformed|bad|disabled|blocked|unauthorized|"
    r"provide(?: an?| your)?|valid) (?:\w+ ){0,2}(?:api ?keys?|credentials?|(?:auth|access|bearer|api|id|session|"
    r"server|proxy|security)\w* tokens?|auth\w*|access key|bearer)\b",
    r"\b(?:expired|revoked) token\b",
    r"\b(?:api ?key|access key|credentials?|auth ?token|bearer token|authorization header|access token|"
    r"security token|authentication|api token)s?\b(?: \S+){0,5} (?:invalid|incorrect|not valid|missing|expired|"
    r"required|revoked|disabled|blocked|not found|not provided|failed|malformed|deleted)\b",
    r"\btoken (?:is |has |was )?(?:expired|revoked|been revoked)\b|\bunauthori[sz]ed\b|\bunauthenticated\b",
    r"\bnot authenticated\b|\bauthentication (?:error|failed|failure|required)|\bauth error\b",
    r"\blogin (?:fail|required)|\bplease (?:log ?in|sign ?in|authenticate)\b|\bno auth\b",
    r"(?:无效|错误|过期|缺少|失效).{0,6}(?:令牌|密钥|api ?key|token|身份|认证)",
    r"(?:令牌|密钥|api ?key|token).{0,8}(?:无效|错误|过期|不正确|失效|不存在|为空)",
    r"\bjwt\b|\bnon autorisé|\bno autorizad|\bnão autorizad|\bnicht autorisiert|не авторизован",
    r"\b(?:clé|clef|clave|chave|chiave|schlüssel|ключ)\b~(?:invalide|no (?:es )?válid|inválid|"
    r"non valid|ungültig|expiré|caducad|"
    r"abgelaufen|неверн|недействит)|\b(?:ungültiger|falscher|abgelaufener) (?:api )?(?:schlüssel|token)",
    r"(?:неверный|недействительный) (?:api )?(?:ключ|токен)|(?:api ?キー|トークン|認証情報).{0,8}(?:無効|正しく|期限|"
    r"失敗)",
    r"身份验证|鉴权失败|授权错误|未授权|認証",
)
_FORBIDDEN = _pattern(
    r"\b(?:permission|access|authori[sz]ation) (?:is |was |has been )?(?:denied|required|refused|failed)",
    r"\baccept (?:the |its |their )?(?:\w+ )?(?:licen[sc]e|terms|conditions|agreement)\b|\baccess to~\bis restricted\b",
    r"\bfailed to find (?:the )?project\b|\bservice instance (?:is )?missing\b",
    r"\b(?:do|does|did|don|doesn)(?: not| t) have (?:\w+ )?(?:access|permission|the required|authori[sz])",
    r"\bnot (?:authori[sz]ed|allowed|permitted|entitled) to\b|\b(?:may|can|must) ?not (?:use|access|call|invoke)\b",
    r"\bno (?:permission|access)\b|\binsufficient (?:permissions?|scopes?|privileges)|\bmissing scopes?\b",
    r"\b(?:country|region|territory|location)s?\b~\b(?:not (?:supported|available|allowed)|blocked|"
    r"restricted|forbidden|denied)",
    r"\bunsupported (?:country|region|location)|\bnot (?:available|supported) in your (?:country|region|location)",
    r"\bip (?:address )?(?:\S+ )?(?:is )?(?:not|blocked|denied)|\bvirtual network|\bfirewall rules?\b",
    r"\bapi (?:\w+ )?(?:has not been|is not) (?:used|enabled)|\bservice (?:is )?disabled\b",
    r"\bverif(?:y|ied) (?:your )?organi[sz]ation|\bmust be verified|\bmodel is gated\b|\bgated (?:model|repo)",
    r"无权|没有权限|权限不足|禁止访问",
)
_ROUTE = _pattern(
    r"\bplain http request was sent to https|\bhttp request to an https server|\bno route matched",
    r"\bunknown (?:url|path|route|endpoint|request url)",
    r"\b(?:url|path|route|page|endpoint|resource) (?:\S+ )?(?:was )?not found|\binvalid url\b|\bmethod not allowed",
    r"\bunexpected endpoint",
)
_PARAMETER = _pattern(
    r"\bparameters?\b|\bresponse format\b|\bjson schema\b|\bjson mode\b|\bstructured output|\btemperature\b",
    r"\btop [pk]\b|\btools?\b|\bfunction calling\b|\brole\b|\bschema\b|\bmax (?:\w+ )?tokens\b|\blogprobs\b",
    r"\bgrammar\b|\bpenalty\b|\bfield\b|\bseed\b|\bstream\b|\bguided\b|\bthinking\b|\breasoning\b|\bfeature\b",
)

_START_MODEL = "Start or load the model on the server, and run again."
_CHECK_MODEL = "Check PERSONAHUB_LLM_MODEL, and that the server or account offers this model; then: personahub doctor."
CHECK_KEY = "Check PERSONAHUB_LLM_API_KEY; then: personahub doctor."
_CHECK_ACCESS = "Ask for access, or use a key or model that has it (PERSONAHUB_LLM_API_KEY, PERSONAHUB_LLM_MODEL)."
_CHECK_FORBIDDEN = (
    "Check PERSONAHUB_LLM_API_KEY, and that its account may use this model and address; then: personahub doctor."
)
_CHECK_URL = "Check PERSONAHUB_LLM_URL (it usually ends in /v1); then: personahub doctor."


def _stopped(reply: _Reply) -> _Finding | None:
    is_starting = reply.status == 503 and reply.says(_LOADING)
    return ("setup", None, _START_MODEL) if reply.says(_STOPPED) and not is_starting else None


def _setup(reply: _Reply) -> _Finding | None:
    if reply.status >= 500 and not reply.statuses & {401, 403, 404} and not reply.says(_NO_MODEL):
        return None
    is_parameter = bool(_PARAMETER.search(reply.words)) or reply.error.parameter not in ("", "model")
    if 401 in reply.statuses or reply.says(_KEY):
        return "setup", None, CHECK_KEY
    if reply.says(_NO_MODEL) and (not is_parameter or reply.status == 404):
        return "setup", None, _CHECK_MODEL
    if reply.says(_FORBIDDEN) and not reply.error.is_page:  # such pages often quote words of the request
        return "setup", None, _CHECK_ACCESS
    return ("setup", None, _CHECK_URL) if _is_wrong_address(reply) else None


def _is_wrong_address(reply: _Reply) -> bool:
    return reply.status in (404, 405, 407, 410) or 300 <= reply.status < 400 or reply.says(_ROUTE)


# ---- the rest ------------------------------------------------------------------------------------------------------
_PASSING = frozenset({408, 409, 421, 424, 425, 499})
_MAY_PASS = _pattern(
    r"\binternal server error\b|\binternal error\b(?!\.)|\btimed? ?out\b",
    r"\bupstream\b~(?:error|failed|reset|unavailable|connect|failure)|\bbad gateway\b",
    r"\b(?:temporarily|currently|service) (?:is )?unavailable\b",
    r"\bconnection (?:was )?(?:reset|refused|aborted|closed|error)|\btry again (?:later|in)\b|\bunexpected error\b",
    r"\bno available server\b|请稍后",
)
_INVALID = _pattern(r"\binvalid\b(?! request error)|\bunsupported\b|\bnot supported\b|\bmust\b|\bvalidation\b|参数")


def _rest(reply: _Reply) -> _Finding:
    is_told_to_retry = reply.headers.get("x-should-retry") == "true"  # in OpenAI's SDK, too
    is_refusal = 400 <= reply.status < 500 and reply.status not in _PASSING and not is_told_to_retry
    if is_refusal and reply.asked_s:
        return "limit", None, ""
    if is_refusal and not (reply.says(_MAY_PASS) and not reply.says(_INVALID)):
        return "suspect", None, _CHECK_FORBIDDEN if 403 in reply.statuses else ""
    return "fault", None, ""


# From the certain to the likely. Rules for accounts come before those for limits and rows, because their messages
# contain the same words. A message about a missing model can mention its context. The words for a filter are specific.
_RULES: tuple[_Rule, ...] = (
    _about_answer, _stopped, _account, _too_long, _filtered, _loading, _quota, _limit, _setup, _rest,
)  # fmt: skip
