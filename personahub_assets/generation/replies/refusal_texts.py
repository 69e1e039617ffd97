"""Refusals: text in which a model declines, or says that the input has too little information, in eight languages.

All patterns match the beginning of a text. "I cannot" alone proves nothing, because a persona can say it ("I cannot
sleep without a fan"): the text must also name the declined object, and the object must be a model's task (this request,
a persona, an answer). A text that continues in the voice of a person ("my landlord", "write me a letter") is not a
refusal.
"""

import re

from personahub_assets.quality.refusals import is_foreign_refusal

_QUOTES = {'"': '"', "“": "”", "«": "»", "„": "“", "「": "」", "'": "'", "‘": "’"}
_CLOSING = re.compile(r"[\"”»“」’](?![^\W\d_])|'(?!\w)")
_BEGINNING = 400  # characters that are checked

# --- English ---

_SORRY = (
    r"(?:(?:(?:i['’]?m|i am|we['’]?re|we are)(?: (?:really|very|so|truly|deeply|terribly)){0,3} (?:sorry|afraid)|sorry|"
    r"(?:my |our )?(?:sincere )?apolog(?:ies|y)|(?:i|we) (?:must |do |sincerely )?apologi[sz]e|"
    r"(?:i|we) regret(?: to (?:say|inform you|tell you))?|unfortunately|regrettably)"
    r"[^\w.!?\n]*+(?:for (?:the|any) [a-z]+\W*+)?(?:(?:but|that|however)\b)?[\s,]*+)"
)
_CANNOT = (
    r"(?:(?:i|we)(?: (?:just|simply|really|currently|also|still|therefore)){0,3} ?(?:can(?:not|['’]?t| not)|could(?: not|n['’]?t)|"
    r"(?:['’]?m|am|['’]?re|are)(?: currently)? (?:unable|not (?:able|in a position|allowed|permitted|comfortable|willing|going|"
    r"programmed|designed|equipped))|(?:won['’]?t|will not)(?: be able)?|"
    r"(?:(?:must|have to|need to|will have to|['’]?ll have to)(?: respectfully)? )?(?:decline|refuse)|"
    r"(?:do not|don['’]?t) (?:feel comfortable|have (?:the )?(?:ability|capability|capacity)))(?: to| with| in)?)"
)
_ABOUT = r"(?:that|this|it|your|the|such|any|these|those|an?)"
_ASKED = (
    r"(?:requests?|prompts?|tasks?|contents?|queries|query|personas?|persons?|people|profiles?|characters?|problems?|puzzles?|"
    r"riddles?|articles?|texts?|documents?|individuals?|stor(?:y|ies)|descriptions?|information|material|topic|subject|tool|"
    r"function|questions?|readers?|groups?|image|response|answer|kind|type|sort)"
)
_MAKE = (
    r"(?:provid|creat|generat|writ|produc|do|answer|engag|continu|proceed|complet|process|discuss|describ|infer|determin|"
    r"identif|giv|mak|offer|shar|support|respond|turn|speculat|comment|invent|role[- ]?play|draw|design|return)"
    r"(?:e|ed|es|ing|ring|ting|y|to)?"
)
_DERIVE = (
    r"(?:infer|determine|identify|derive|deduce|create|write|generate|describe|draw|design|conclude|establish|"
    r"construct|produce|analy[sz]e|develop|assign)(?:d|red|ed|n|ten|ing|ring)?"
)
_INFORMATION = r"(?:information|context|details?|content|data|clues|material|text|substance)"
_GIVEN = r"(?:text|document|passage|input|description|persona|excerpt|page|article|content|snippet|message|prompt)"
_ENGLISH = rf"""
    {_CANNOT}\ (?:help|assist|fulfil+|comply|accommodate|satisfy|grant|complete|process)(?:ing)?(?:\ (?:you|further|anyone))?
      (?!\ (?:but|feeling|thinking))(?:\ (?:with|on|in))?(?:\ (?:creating|writing|generating|producing|describing))?
      (?:\ (?:that|this|it)\s*+(?:[.,;!]|$)|\ (?:that|this|your|the|such|any)(?:\ [a-z]+)?\ (?:requests?|tasks?|prompts?|instructions?|
      queries|query|kind|type|sort|persona|puzzle|problem|article)|\ requests?|\ (?:creating|writing|describing)\b|[.!]?\s*+$)
  | {_CANNOT}\ {_MAKE}\b[^.!?]{{0,60}}?\b{_ASKED}\b
  | {_CANNOT}\ {_MAKE}\ (?:that|this)\s*+(?:[.,;!]|$)
  | (?:as|being)\ an?\ (?:(?:large\ |ai\ ){{0,2}}language\ model|ai|artificial\ intelligence)(?:\ (?:(?:language\ )?model|assistant|system|chatbot))?
      (?:\ (?:created|developed|trained|made)\ by\ \w+)?\s*+,?\ (?:i|we)\b
  | i(?:\ am|['’]?m)\ (?:just\ |only\ )?(?:an?\ (?:ai|(?:large\ )?language\ model|artificial)\b|programmed\ to\b|designed\ to\ be\ (?:a\ )?(?:helpful|safe))
  | it\ (?:is|would\ be|['’]?s|isn['’]?t|wouldn['’]?t\ be)\ (?:not\ |un|in)?(?:appropriate|ethical|possible|impossible)\ (?:for\ me\ )?to\ 
      {_MAKE}\b[^.!?]{{0,60}}?\b{_ASKED}\b
  | i(?:['’]?d|\ would)?\ (?:rather|prefer)\ not\ (?:to\ )?(?:continue|answer|engage|discuss|create|write|describe|respond|do)\b
"""
_ENGLISH_OF_THE_REQUEST = r"""
    (?:this|your|the|that)\ (?:requests?|prompts?|content|text|input|query|topic|task|description)(?:\ (?:itself|above))?\ (?:may\ |would\ |appears\ to\ |seems\ to\ )?
      (?:violate|go(?:es)?\ against|breach|infringe|conflict|(?:was|has\ been|is|were)\ (?:flagged|blocked|rejected|inappropriate|
      not\ (?:appropriate|something\ i|allowed|permitted)|against\ (?:my|our|the))|can(?:not|['’]?t)\ be\ (?:processed|completed|
      fulfil+ed|answered|provided)|(?:contains?|involves?)\ (?:inappropriate|harmful|offensive|sensitive|explicit|sexual|illegal))
"""
_UNABLE = r"(?:\b(?:i|we)\ ?(?:can(?:not|['’]?t|\ not)|could\ not|couldn['’]?t|(?:am|['’]?m|are|['’]?re)\ (?:unable|not\ (?:able|allowed|permitted|comfortable)))|\bcan(?:not|['’]?t)\ be\b|\b(?:not\ possible|impossible|unable)\ to\b)"
_ENGLISH_APOLOGY = rf"(?:[^.!?]{{0,80}}?{_UNABLE}|[^.!?]{{0,80}}?\bnot\ (?:something|able|possible|allowed|permitted)\b|[^.!?]{{0,60}}?\b(?:declin|refus|outside\ (?:of\ )?(?:what|my)|violat)|{_CANNOT}\b)"
_ENGLISH_ROUNDABOUT = rf"""
    (?:this|that|it)(?:\ (?:is|['’]?s|request\ is|content\ is|topic\ is))\ (?:not\ )?something\ (?:that\ )?(?:i|we)\b
  | (?:this|that|it|which)\ (?:appears|seems|would)\ (?:to\ )?(?:violate|breach|go\ against|be\ against|conflict)\b
  | (?:the|this)\ {_GIVEN}\b[^.!?]{{0,100}}?\b(?:so|and|therefore|thus|hence|which\ means)\ (?:that\ )?{_UNABLE}
  | it\ (?:seems|appears|looks)\b[^.!?]{{0,100}}?(?:{_UNABLE}|\bno\ (?:text|data|information|description|content|document|input)\b|\b(?:empty|missing|not\ included)\b)
  | without\ (?:more|further|additional|any|enough|sufficient|the)\ (?:\w+\ ){{0,2}}?{_INFORMATION}\b[^.!?]{{0,60}}?{_UNABLE}
  | (?:based\ on|from|given|according\ to|with)\ (?:only\ )?(?:the|this)\ (?:\w+\ )?(?:{_GIVEN}|{_INFORMATION})\b[^.!?]{{0,60}}?{_UNABLE}
  | (?:i|we)\ (?:do\ not|don['’]?t)\ (?:think|believe)\ (?:that\ )?(?:i|we)\ (?:can|should|could|am\ able)\b[^.!?]{{0,60}}?\b(?:{_ASKED}|that|this)\b
  | (?:content|response|answer|output)\ (?:was\ |is\ |has\ been\ )?(?:withheld|blocked|removed|filtered|refused|not\ available|unavailable|omitted|declined)\b
  | (?:there\ (?:is\ not|isn['’]?t)\ )?(?:enough|sufficient)\ {_INFORMATION}\b[^.!?]{{0,60}}?\bto\ (?:say|tell|know|judge|decide|infer|determine)\b
  | (?:the|this)\ (?:\w+\ )?{_GIVEN}\ (?:does\ not|doesn['’]?t)\ (?:provide|contain|offer|give|include|have|mention)\ (?:any|enough|sufficient|much)\ (?:\w+\ )?{_INFORMATION}\ (?:about|on|of|regarding|for)\b
"""
_ENGLISH_TOO_LITTLE = rf"""
    (?:the|this|your)(?:\ (?:provided|given|supplied|source|input|user['’]s))?\ {_GIVEN}(?:\ (?:itself|provided|given|you\ provided))?\ 
      (?:(?:does\ not|doesn['’]?t|do\ not|don['’]?t|fails\ to|did\ not)\ (?:\w+\ ){{0,2}}?(?:contain|provide|offer|give|have|include|present|specify|describe|mention)
        |lacks|contains\ (?:no|too\ little|insufficient)|has\ (?:no|too\ little|insufficient)|provides\ (?:no|too\ little|insufficient)
        |is\ (?:too\ (?:short|vague|brief|generic|general|limited)|empty|blank|missing|incomplete|insufficient|unclear|not\ (?:sufficient|clear|enough|provided))
        |(?:appears|seems)\ to\ be\b[^.!?]{{0,60}}?\b(?:no|without|empty|incomplete))\b
      (?:[^.!?]{{0,80}}?\b(?:to|so|be|can|could|cannot|for)\ (?:[a-z]+\ ){{0,3}}?{_DERIVE}\b|[^.!?]{{0,20}}\ (?:meaningful|relevant|usable|readable)\ {_INFORMATION}
        |\s*+[.!]?\s*+$)
  | (?:there(?:\ is|\ are|['’]s|\ was)\ )?(?:not\ enough|not\ sufficient|insufficient|too\ little|no\ (?:relevant|usable|sufficient|useful)|inadequate)\ (?:\w+\ )?{_INFORMATION}\b
      (?:\s*+[.!]?\s*+$|[^.!?]{{0,80}}?\b(?:to|for)\ (?:\w+\ )?{_DERIVE}\b[^.!?]{{0,60}}?\b(?:{_ASKED}|who|what|any|anyone)\b|\ (?:was\ |is\ )?(?:provided|given|available|supplied)\b)
  | no\ (?:\w+\ )?{_GIVEN}\ (?:was|is|has\ been|were)\ (?:provided|given|supplied|included|found|attached)
  | (?:it\ (?:is|was)\ )?(?:not\ possible|impossible|unable|cannot|can['’]?t|could\ not|not\ able|hard|difficult)\ (?:to\ |be\ )+{_DERIVE}\b[^.!?]{{0,50}}?(?:\b{_ASKED}\b|\bfrom\ the\b)
  | (?:cannot|can['’]?t|could\ not)\ {_DERIVE}\b[^.!?]{{0,50}}?\b(?:personas?|persons?|people|readers?)\b
  | no\ (?:\w+\ )?(?:personas?|persons?|people|readers?|problem|puzzle|conclusions?)\ (?:can|could|may)\ be\ {_DERIVE}
  | (?:please|kindly)\ (?:provide|share|supply|give|send|paste)\b[^.!?]{{0,80}}?\b{_GIVEN}\b[^.!?]{{0,40}}?\b(?:so\ (?:that\ )?i\ (?:can|could|may)|for\ me\ to|to\ be\ analy|you(?:['’]d|\ would)?\ (?:like|want)|and\ i(?:['’]ll|\ will|\ can))
  | i\ (?:do\ not|don['’]?t|did\ not|didn['’]?t)\ (?:have|see|receive)\ (?:enough|sufficient|any|the)\ {_INFORMATION}\b[^.!?]{{0,60}}?\b(?:{_DERIVE}\b[^.!?]{{0,40}}?\b{_ASKED}|provided)\b
  | i\ (?:would\ )?need\ (?:more|additional|further|some)\ {_INFORMATION}\b[^.!?]{{0,80}}?\b(?:describe|infer|create|write|generate|determine|identify|provide)\b
"""
_ENGLISH_VOICE = r"""
    (?:[.:;!?,])\s+(?:what|how|which|where|why|when|who)\b[^.!?]*\?
  | \b(?:my|our)\b(?!\ (?:guidelines|programming|training|knowledge|capabilit|purpose|polic|abilit|apolog|content|safety|ethical|limitation|design|rules|terms|instructions|usage|best|role\ as))
  | (?:[.:;!?,]|\band|\bbut|\bplease)\s+(?:please\ )?(?:write|make|explain|list|draft|show|plan|suggest|correct|rewrite|turn|shorten|fix|find|tell\ me|help\ me|give\ me\ (?!more)|make)\b
  | \b(?:here\ is\ (?:how|what)|but\ i\ can\ describe)
"""

# --- the other languages ---

_SPANISH = r"""
    (?:lo\ siento|siento|lo\ lamento|lamento|disculp[ae]|perd[oó]n|lamentablemente|desafortunadamente)\b[^.!?]{0,60}?\b(?:no\ (?:puedo|podemos|podr[eé]|es\ posible|poder|me\ es\ posible)|imposible|incapaz)\b
  | me\ (?:resulta|es)\ imposible\b[^.!?]{0,60}?\b(?:person[ae]s?|perfil|solicitud|petici[oó]n|texto|contenido)
  | (?:(?:lo\ siento|lo\ lamento|disculp[ae]|perd[oó]n|lamentablemente|desafortunadamente|me\ temo\ que|por\ desgracia)[\s,.]*+(?:mucho[\s,]*+)?(?:pero\ )?)?
      (?:no\ (?:me\ )?(?:puedo|podemos|podr[eé]|es\ posible|logro|estoy\ (?:autorizad[oa]|en\ condiciones\ de|capacitad[oa]))|no\ soy\ capaz\ de|soy\ incapaz\ de|debo\ (?:declinar|rechazar|negarme))\b
      [^.!?]{0,70}?\b(?:(?:es[ae]|est[ae]|su|tu|la|dicha)\ (?:tipo\ de\ )?(?:solicitud|petici[oó]n|tarea|consulta|contenido|persona|texto|descripci[oó]n|tema|problema)|ese\ tema|con\ (?:eso|esto)|contenidos?|perfil(?:es)?|acertijo|problema|personas\ reales)\b
  | como\ (?:un\ |una\ )?(?:modelo\ de\ (?:lenguaje|ia)|(?:ia|inteligencia\ artificial)\b|asistente\ (?:de\ ia|virtual))
  | (?:esta|su|tu|la|dicha)\ (?:solicitud|petici[oó]n|consulta|tarea)\ (?:infringe|viola|incumple|va\ en\ contra|no\ (?:puede|es\ apropiad))
  | (?:el|este)\ (?:texto|documento|contenido)(?:\ \w+)?\ (?:no\ (?:contiene|ofrece|proporciona|tiene|incluye|da|aporta)|carece\ de|est[aá]\ vac[ií]o|es\ demasiado)\b[^.!?]{0,80}?\b(?:informaci[oó]n|contexto|datos|detalles|para|$)\b
  | no\ (?:hay|existe|se\ proporciona|tengo|dispongo\ de)\ (?:suficientes?\ )?(?:informaci[oó]n|contexto|datos|detalles)(?:\ suficientes?)?\b[^.!?]{0,30}?\bpara\ (?:inferir|determinar|deducir|describir|identificar|crear|generar)
  | (?:no\ (?:se\ puede|es\ posible)|imposible)\ (?:inferir|determinar|deducir|describir|identificar|crear|generar)\b
  | (?:informaci[oó]n|contexto|datos)\ insuficientes?\b
"""
_FRENCH = r"""
    (?:je\ suis\ |nous\ sommes\ )?(?:vraiment\ |sincèrement\ )?(?:désolée?s?|je\ regrette|malheureusement|je\ m['’]excuse)\b[^.!?]{0,60}?\b(?:ne\ (?:peux|pouvons|pas\ pouvoir|suis\ pas)|impossible)\b
  | (?:(?:(?:je\ suis\ |nous\ sommes\ )?(?:vraiment\ |sincèrement\ )?désolée?s?|je\ regrette|malheureusement|pardon|excusez[- ]moi|toutes\ mes\ excuses|je\ m['’]excuse)[\s,.]*+(?:mais\ )?)?
      (?:(?:je|nous)\ ne\ (?:peux|pouvons|pourrai|saurais|suis\ pas\ (?:en\ mesure|capable|autorisée?|à\ l['’]aise)|dois)|il\ m['’]est\ impossible|il\ ne\ m['’]est\ pas\ possible|je\ (?:dois\ )?(?:refuse|décline)r?)\b
      [^.!?]{0,80}?\b(?:(?:cette|votre|ta|la|ce|de\ telles?|ces)\ (?:type\ de\ )?(?:demande|requête|tâche|contenu|personne|question|texte|sujet|informations?)s?|contenus?|problème|énigme|profils?|avec\ (?:cela|ça))\b
  | en\ tant\ qu(?:e\ |['’])(?:(?:grand\ )?modèle\ de\ lang|ia\b|intelligence\ artificielle|assistante?\ (?:ia|virtuel))
  | (?:cette|votre|la)\ (?:demande|requête)\ (?:enfreint|viole|est\ contraire|va\ à\ l['’]encontre|ne\ (?:peut|respecte))
  | (?:le|ce)\ (?:texte|document|contenu)(?:\ \w+)?\ (?:ne\ (?:contient|fournit|donne|comporte|permet)\ pas|manque|est\ (?:vide|trop))\b[^.!?]{0,80}?\b(?:informations?|contexte|détails?|déduire|déterminer)\b(?!\ (?:images))
  | il\ n['’]y\ a\ pas\ (?:assez|suffisamment)\ d(?:e\ |['’])(?:informations?|contexte|détails?|éléments)\b[^.!?]{0,30}?\bpour\ (?:en\ )?(?:déduire|déterminer|décrire|identifier|créer)
  | (?:il\ est\ )?impossible\ (?:de|d['’])\s?(?:en\ )?(?:déduire|déterminer|décrire|identifier|créer|générer)\b
  | (?:informations?|contexte|données)\ insuffisante?s?\b
"""
_GERMAN = r"""
    (?:(?:es\ )?tut\ mir\ (?:sehr\ )?leid|entschuldig(?:ung|en\ sie)|leider|bedauerlicherweise)\b[^.!?:]{0,40}?\b(?:kann|können|darf|dürfen|bin|ist)\b[^.!?:]{0,60}?\b(?:nicht|kein(?:e|en|er)?)\b
  | (?:das|dies|dabei|hierbei|damit)\ (?:kann|darf|werde)\ ich\ (?:leider\ )?nicht\ (?:beantworten|beschreiben|erstellen|tun|bearbeiten|helfen|erfüllen)
  | (?:anhand|aufgrund|aus)\ (?:des|dieses|dem|diesem)\ (?:\w+\ )?(?:text(?:e?s)?|inhalts?)\b[^.!?]{0,60}?\b(?:nicht|kein(?:e|en)?)\b
  | (?:(?:(?:es\ )?tut\ mir\ (?:sehr\ )?leid|entschuldig(?:ung|en\ sie)|verzeihung|leider|bedauerlicherweise|ich\ bedau[e]?re)[\s,.]*+(?:aber\ )?)?
      (?:(?:ich|wir)\ (?:kann|können|darf|dürfen|werde|möchte|muss)|(?:kann|darf|werde)\ ich|(?:ich\ )?bin\ (?:ich\ )?(?:leider\ )?(?=nicht\ (?:in\ der\ lage|befugt|imstande))|dabei\ kann\ ich)\b
      (?=[^.!?]{0,120}?\b(?:nicht|kein(?:e|en|er)?|ablehnen)\b)
      [^.!?]{0,100}?\b(?:(?:diese[rnsm]?|ihre[rn]?|deine[rn]?|der)\ (?:anfrage|bitte|aufgabe|frage|text|inhalte?|beschreibung|person|thema)|anfrage|inhalte|personen|rätsel|aufgabe|personas?|dir\ nicht\ helfen|ihnen\ nicht\ helfen)\b
  | als\ (?:ein\ |eine\ )?(?:ki\b|ki-|künstliche\ intelligenz|(?:großes\ )?sprachmodell)
  | (?:diese|ihre|deine|die)\ anfrage\ (?:verstößt|verletzt|kann\ (?:nicht|leider)|widerspricht|ist\ (?:un|nicht))
  | (?:der|dieser)\ (?:\w+e\ )?(?:text|inhalt)\ (?:enthält|bietet|liefert|gibt)\ (?:nicht\ (?:genügend|genug|ausreichend)|keine|zu\ wenig|kaum)\b
  | (?:der|dieser)\ (?:\w+e\ )?text\ (?:ist\ (?:leer|zu\ (?:kurz|vage|allgemein))|reicht\ nicht)
  | (?:es\ (?:liegen|gibt|sind)\ )?(?:nicht\ (?:genug|genügend|ausreichend(?:e)?)|zu\ wenig(?:e)?|keine\ ausreichenden|unzureichende)\ (?:informationen|angaben|kontext|details|daten)\b
  | aus\ (?:dem|diesem)\ text\ (?:lässt|lassen|kann|können|geht)\b[^.!?]{0,60}?\b(?:kein|nicht)
"""
_CHINESE = r"""
    (?:对不起|抱歉)[^。]{0,20}(?:超出|范围|能力)
  | (?:该|此|所?提供的)?(?:文本|内容|文章)[^。，]{0,6}(?:缺少|缺乏)[^。]{0,12}(?:信息|内容)
  | 我?们?(?:非常|很|十分|真的|实在)?(?:抱歉|对不起|遗憾)[^。！？]{0,25}?(?:无法|不能|不适合|不便|不可以|没有办法)
  | (?:我|我们)(?:无法|不能|不可以|不便)(?:处理|完成|协助|提供|生成|创建|满足|执行|描述|推断)[^。]{0,15}(?:请求|要求|任务|内容|人物|描述|信息|文本)
  | (?:(?:非常|很|十分|真的|实在)?(?:抱歉|对不起|对不住|遗憾)[，,。！!\s]*+(?:但|但是|不过)?)?(?:作为[^，,。]{0,15}(?:人工智能|语言模型|ai|助手)[^，,。]{0,10}[，,]?)?
      (?:您的请求[^，,。]{0,15}[，,])?(?:我|我们|本助手|本模型)?(?:无法|不能|没有办法|没办法|不便|不可以|无权|拒绝|必须拒绝|不会)
      [^。！？]{0,25}?(?:请求|该?问题|内容|人物|谜题|数学题|话题|任务|要求|文本|描述|回答|生成|文章)
  | 作为(?:一个|一名|一款)?(?:大型|大)?(?:人工智能|语言模型|ai|ａｉ)(?:语言)?(?:模型|助手|系统)?
  | 我(?:只)?是(?:一个|一名|一款)?(?:大型|大)?(?:人工智能|语言模型|ai)(?:助手|模型|语言模型)?[，,。]
  | (?:非常|很|十分)?(?:抱歉|对不起)[，,\s]*+您的(?:请求|问题|输入)
  | (?:该|此|这个|您的|你的)(?:请求|问题|内容|输入|提示)[^。]{0,10}(?:违反|违背|不符合|不适当|不合适|包含不)
  | (?:所?提供的?|该|此|这段|给定的?|上述|根据所?提供的)?(?:文本|文字|内容|文章|资料|信息){1,2}(?:中|里|过于|太)?[^。，,]{0,6}(?:没有|缺乏|不(?:包含|含有|能|足以|够|具备)|未|无法|过少|太少|简短)[^。]{0,10}(?:足够|信息|充分|足以|推断|确定|判断|人物)
  | (?:信息|内容|上下文|资料|文本|文章){1,2}(?:不足|不够|过少|过短|太短|太少|有限|为空)(?=[，,。；\s]|$|以)
  | (?:没有|未|尚未)(?:提供|给出|足够)[^。]{0,8}(?:文本|内容|信息|资料)
  | (?:无法|不能)(?:从|根据|由)?[^。]{0,15}(?:推断|确定|判断|得出)
"""
_PORTUGUESE = r"""
    (?:desculp[ae]|peço\ desculpas?|sinto\ muito|lamento|infelizmente)\b[^.!?]{0,60}?\b(?:não\ (?:posso|podemos|consigo|é\ possível|poder)|impossível)\b
  | (?:(?:desculp[ae]|sinto\ muito|lamento|infelizmente|peço\ desculpas?)[\s,.]*+(?:mas\ )?)?(?:eu\ )?
      (?:não\ (?:posso|podemos|consigo|é\ possível|sou\ capaz\ de|estou\ autorizad[oa]|poderei)|sou\ incapaz\ de|devo\ recusar)\b
      [^.!?]{0,60}?\b(?:(?:ess[ae]|est[ae]|desse|deste|seu|sua|d?essa)\ (?:tipo\ de\ )?(?:pedido|solicitação|tarefa|conteúdo|pessoa|texto|pergunta|perfil|tema)|conteúdos?|perfil|perfis|com\ isso)\b
  | como\ (?:um\ |uma\ )?(?:modelo\ de\ linguagem|ia\b|inteligência\ artificial|assistente\ (?:de\ ia|virtual))
  | (?:est[ae]|o\ seu|a\ sua|seu|sua)\ (?:pedido|solicitação)\ (?:viola|infringe|vai\ contra|não\ pode)
  | o\ (?:texto|documento|conteúdo)(?:\ \w+)?\ não\ (?:contém|fornece|oferece|tem|apresenta)\b[^.!?]{0,60}?\b(?:informaç|contexto|detalhes)
  | (?:não\ há|sem)\ (?:informaç(?:ões|ão)|contexto|dados)\ suficientes?\b
  | não\ é\ possível\ (?:inferir|determinar|deduzir|identificar|descrever)
  | (?:informações|contexto|dados)\ insuficientes?\b
"""
_JAPANESE = r"""
    (?:大変)?(?:申し訳(?:ありません|ございません|ない)|すみません|すいません|ごめんなさい|恐れ入りますが|残念ながら)[^。]{0,60}(?:できません|出来ません|いたしかねます|応えできません|お答えできません|お手伝いできません|できかねます)
  | (?:私は)?(?:ai|人工知能|言語モデル)(?:アシスタント|モデル)?(?:なので|ですので|として|であるため|のため)
  | (?:この|その|ご)?(?:リクエスト|依頼|要求|内容|質問)(?:に)?は[^。]{0,30}(?:ポリシー|ガイドライン|規約|お応えできません|お答えできません)
  | (?:この|その|提供された|与えられた)?(?:テキスト|文章|文書|本文)(?:に|には|から|からは|だけでは|が)[^。]{0,30}(?:十分な情報|情報が(?:不足|足り|あり)|推測できません|特定できません|判断できません|空です|提供されていません)
  | (?:十分な)?情報が(?:不足|足り(?:ない|ません)|不十分)
"""
_RUSSIAN = r"""
    (?:к\ сожалению|извините|простите|прошу\ прощения|мне\ (?:очень\ )?жаль|сожалею)\b[^.!?]{0,60}?\b(?:не\ (?:могу|можем|смогу|могу)|невозможно|нельзя)\b
  | (?:(?:к\ сожалению|извините|простите|прошу\ прощения|мне\ (?:очень\ )?жаль|сожалею)[\s,.]*+(?:но\ )?)?
      (?:я\ (?:не\ (?:могу|можем|смогу|в\ состоянии|имею\ права)|вынужден[а]?\ отказаться|отказываюсь))\b
      [^.!?]{0,60}?\b(?:(?:эт(?:от|ой|им|у|и)|ваш\w*|так(?:ой|их|ие)|подобн\w+)(?:\ (?:запрос\w*|просьб\w*|задач\w*|контент\w*|текст\w*|вопрос\w*|тем\w*|содержани\w*|человек\w*))?|запрос\w*|контент\w*|персон\w*|описани\w*|человек\w*|ответ\w*|информаци\w*|читател\w*)(?=\s*+(?:[.,!]|$|\s))
  | (?:как|будучи)\ (?:большая\ |большой\ )?(?:языков(?:ая|ой)\ модел|искусственн|ии\b|ии-)
  | (?:этот|ваш|данный)\ (?:запрос|контент)\ (?:нарушает|противоречит|не\ может)
  | в\ (?:этом\ |данном\ |предоставленном\ )?тексте\ (?:недостаточно|нет|не\ хватает|не\ содержится)\ (?:достаточно\ )?(?:информации|данных|сведений|контекста)
  | (?:недостаточно|нет\ достаточной|не\ хватает)\ (?:информации|данных|сведений|контекста)\b
  | (?:невозможно|нельзя)\ (?:определить|вывести|установить|описать)\b
"""
_KOREAN = r"""
    (?:대단히\ |정말\ )?(?:죄송(?:합니다|하지만|스럽지만|스럽게도)|미안(?:합니다|하지만)|유감스럽게도|안타깝게도)[^.。!?]{0,60}(?:수\ 없습니다|수가\ 없습니다|어렵습니다|못합니다|불가능합니다)
  | (?:(?:죄송|미안)합니다[.,]?\ )?(?:이|해당|귀하의|요청하신)\ ?(?:요청|내용|질문)(?:은|에|에는)\ [^.。!?]{0,40}(?:정책|응할\ 수\ 없|도와드릴\ 수\ 없|답변할\ 수\ 없)
  | (?:저는\ )?(?:ai|인공지능|언어\ 모델)(?:\ (?:언어\ )?(?:모델|어시스턴트))?(?:로서|이므로|이기\ 때문에)
  | (?:이|주어진|제공된|해당)\ ?(?:텍스트|문서|글|본문)[^.。!?]{0,20}(?:정보가\ (?:부족|충분하지)|추론할\ 수\ 없|알\ 수\ 없)
  | 정보가\ (?:부족|충분하지\ 않)
"""
_VOICES = r"""
    \b(?:mis?|nuestr[oa]s?)\b(?!\ (?:directrices|pol[ií]tica|pautas|capacidad|limitaci|programaci|normas|conocimient))
  | \b(?:mon|ma|mes|notre|nos)\b(?!\ (?:directives|capacités|règles|consignes|principes|programmation|politique|conditions|limites|connaissances))
  | \b(?:mein|unser)(?:e[nmrs]?)?\b(?!\ (?:richtlinie|inhaltsrichtlinie|programmierung|fähigkeit|regeln|nutzungs|vorgaben|grenzen|training))
  | \b(?:meus?|minhas?|noss[oa]s?)\b(?!\ (?:diretrizes|política|capacidade|limitaç|programação|regras))
  | (?:[.:;!?,]|\by|\bpero)\s+(?:por\ favor\ )?(?:corrige|escribe|dame|haz|hazme|ay[uú]dame|propón|explica|redacta)\b
  | (?:[.:;!?,]|\bet|\bmais)\s+(?:corrige|écris|propose|donne|fais|explique|rédige|aide)\b
  | (?:[.:;!?,]|\bund)\s+(?:bitte\ )?(?:schreib|verbessere|mach|erkläre?|hilf|gib|nenne?|erstelle?)\b
  | (?:[.:;!?,]|\be)\s+(?:corrija|corrige|escreva|dê|faça|explique|ajude)\b
  | (?:[.:;!?,])\s+(?:придумай|напиши|исправь|объясни|помоги|составь|подскажи)
  | 我(?:的|们的|女儿|儿子|妈妈|爸爸|家|老板|孩子)(?!能力|准则|政策|原则|设计|知识)|请(?:帮我|给我|列出|写|教我)
  | (?:私|うち)の(?!ガイドライン|能力|ポリシー)|(?:して|直して|書いて|教えて)ください
  | \b(?:мо(?:й|я|ё|е|и|ей|ю|его|их)|наш\w*)\b(?!\ (?:правил|возможност|политик|принцип))
"""
# Beginnings of an answer without any JSON: such a text can only be the model's own voice.
_BARE = rf"{_SORRY}?(?:{_CANNOT})\b|{_SORRY}(?=.)(?:i|we|this|that|your|the)\b"


def _pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern that is written over several lines; blanks within a line are significant."""
    return re.compile("|".join(re.sub(r"\n *", "", line) for line in text.strip().split("\n  | ")))


# By the first word, or the first character in scripts without spaces: most texts have another one.
_BY_FIRST_WORD: dict[str, list[re.Pattern[str]]] = {}
_ROUNDABOUT = _pattern(_ENGLISH_ROUNDABOUT)
for _first, _patterns in (
    ("i we as being it", (_pattern(_ENGLISH),)),
    (
        "this that it which the without based from given according with i we content response answer output there "
        "enough sufficient",
        (_ROUNDABOUT,),
    ),
    ("this your the that", (_pattern(_ENGLISH_OF_THE_REQUEST), _pattern(_ENGLISH_TOO_LITTLE))),
    (
        "i there not insufficient too no inadequate it impossible unable cannot can could hard difficult please kindly",
        (_pattern(_ENGLISH_TOO_LITTLE),),
    ),
    (
        "lo siento lamento disculpa disculpe perdón perdon lamentablemente desafortunadamente me por no soy debo como esta esa su tu "
        "la dicha el este imposible información informacion contexto datos",
        (_pattern(_SPANISH),),
    ),
    (
        "je nous vraiment sincèrement désolé désolée désolés malheureusement pardon excusez toutes il en cette votre "
        "la le ce impossible informations information contexte données",
        (_pattern(_FRENCH),),
    ),
    (
        "es tut entschuldigung entschuldigen verzeihung leider bedauerlicherweise ich wir bin dabei als diese ihre "
        "deine die der dieser nicht zu keine unzureichende aus das dies hierbei damit anhand aufgrund",
        (_pattern(_GERMAN),),
    ),
    (
        "desculpe desculpa sinto lamento infelizmente peço eu não sou devo como este esta o seu sua sem "
        "informações contexto dados",
        (_pattern(_PORTUGUESE),),
    ),
    (
        "к извините простите прошу мне сожалею я как будучи этот ваш данный в недостаточно нет не невозможно нельзя",
        (_pattern(_RUSSIAN),),
    ),
    (
        "非 很 十 真 实 抱 对 遗 作 您 我 本 无 不 没 必 拒 该 此 这 你 所 提 给 上 根 文 内 资 信 未 尚",
        (_pattern(_CHINESE),),
    ),
    ("대 정 죄 미 유 안 이 해 귀 요 저 ai 인 언 주 제", (_pattern(_KOREAN),)),
    ("大 申 す ご 恐 残 私 ai 人 言 こ そ 依 要 内 質 リ 提 与 テ 文 本 十 情", (_pattern(_JAPANESE),)),
):
    for _word in _first.split():
        _BY_FIRST_WORD.setdefault(_word, []).extend(_patterns)
_APOLOGY = _pattern(_SORRY)
_AFTER_APOLOGY = _pattern(_ENGLISH_APOLOGY)
_VOICE = _pattern(_ENGLISH_VOICE + _VOICES)
_BARE_REFUSAL = _pattern(_BARE)
_FIRST_WORD = re.compile(r"[a-zà-ÿа-яё]++|\w")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Kinds of words: a first sentence with words of several kinds is a refusal in an unknown form.
_APOLOGIES = _words(
    "sorry apologies apologize apologise unfortunately regrettably regret afraid siento lamento disculpe lamentablemente "
    "désolé désolée crains regrette malheureusement leider leid entschuldigung desculpe infelizmente извините простите "
    "сожалению жаль"
)
_NOT = _words("no not don't doesn't isn't ne n'y pas nicht kein keine keinen não не нет")
_ABLE = _words(
    "able could can will possible permitted allowed access sufficient enough have appropriate any content text puedo podemos "
    "posible está disponible suficiente peux pouvoir pouvons suis suffisant kann können darf möchte ausreichend genug posso "
    "podemos possível suficiente há consigo могу можем возможно данных текста"
)
_UNABLE_WORDS = _words(
    "can't cannot couldn't won't unable refuse decline impossible beyond outside imposible incapaz impossível невозможно"
)
_LACKING = _words("insufficient lacks lacking empty missing blank insuficiente vacío manque vide fehlt leer vazio")
_TOO = _words("too demasiado trop zu muito слишком")
_SHORT = _words(
    "short little vague limited brief generic corto breve court courte vague kurz wenig vage curto pouco короткий мало"
)
_OBJECTS = _words(
    "persona personas text texts excerpt document passage request requests content input message prompt snippet reader readers "
    "description link links profile texto documento contenido solicitud texte contenu demande lecteur lecteurs personne "
    "inhalt anfrage leser person pessoa conteúdo pedido текст тексте текста данных данные запрос описание"
)
_TASKS = _words(
    "generate create describe infer identify determine deduce assist help process profile fulfill fulfil complete completed "
    "analyze analyse drawn derive provide write browse see set find say deducir describir inferir generar crear ayudar "
    "déduire décrire identifier générer créer aider beschreiben sagen erstellen helfen ableiten descrever inferir gerar ajudar "
    "анализа описать определить создать помочь"
)
_RULES_OF_USE = _words(
    "ai guidelines policy policies sensitive inappropriate ethical conscience permitted responsible harmful safety ia ki "
    "políticas directrices richtlinien directives diretrizes"
)
_FIRST_PERSON = _words("i i'm i'd we we're mí yo je j' vous ich mim eu я")
_DESCRIBING = _words("a an un una une ein eine um uma")
_OF_A_REQUEST = _OBJECTS | _TASKS
_SENTENCE = re.compile(r"[^.!?\n\"“”«»]{1,200}")  # or its beginning, up to a quotation
_WORDS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


def _declines_in_other_words(beginning: str) -> bool:
    """Whether the kinds of words in a first sentence are those of a refusal."""
    sentence = _SENTENCE.match(beginning)
    words = set(_WORDS.findall(sentence[0].replace("’", "'"))) if sentence else set()
    if words.isdisjoint(_OF_A_REQUEST):
        return False
    is_not = not words.isdisjoint(_NOT)
    unable = not words.isdisjoint(_UNABLE_WORDS) or (is_not and not words.isdisjoint(_ABLE))
    lacks = not words.isdisjoint(_LACKING) or (not words.isdisjoint(_TOO) and not words.isdisjoint(_SHORT))
    kinds = [
        unable,
        lacks,
        *(not words.isdisjoint(kind) for kind in (_OBJECTS, _TASKS, _APOLOGIES, _RULES_OF_USE, _FIRST_PERSON)),
    ]
    is_about_text = (lacks or (is_not and unable)) and kinds[2] and kinds[3]
    return (unable or lacks) and (sum(kinds) >= 4 or is_about_text)


def is_refusal(text: str) -> bool:
    """Whether a text in a field of an answer declines, or says that the input has too little information.

    >>> is_refusal("I'm sorry, but I can't help with that.")
    True
    >>> is_refusal("I can't help with fractions, so explain them to my daughter.")
    False
    """
    if is_foreign_refusal(text):
        return True
    beginning = _unquoted(text[:_BEGINNING]).lower()
    start = apology.end() if (apology := _APOLOGY.match(beginning)) else 0
    word = _FIRST_WORD.match(beginning, start)
    if word is None or (word[0] in _DESCRIBING and not start):
        return False
    patterns = _BY_FIRST_WORD.get(word[0], []) + ([_AFTER_APOLOGY] if start else [])
    declines = any(pattern.match(beginning, start) for pattern in patterns) or _declines_in_other_words(beginning)
    return declines and not _VOICE.search(beginning)


def is_refusal_text(text: str) -> bool:
    """Whether an answer without JSON declines.

    >>> is_refusal_text("Sorry, we cannot do this.")
    True
    """
    beginning = text[:_BEGINNING].lower().lstrip(" \t\r\n\"'`*#>([{-“‘")
    return bool(_BARE_REFUSAL.match(beginning)) or is_refusal(beginning)


def _unquoted(text: str) -> str:
    """A text without quotation marks around all of it; a quotation at its beginning stays."""
    closing = _QUOTES.get(text[:1])
    if closing is None:
        return text
    return text[1:-1] if text.endswith(closing) and not _CLOSING.search(text, 1, len(text) - 1) else ""
