"""The phrases by which clauses are told apart: what denies, supposes, asks, quotes, instructs, lists, refuses or withdraws."""

from __future__ import annotations

import re

from l2v.benchmarks.scoring.tables import PatternTable

# What a predicate says of an answer that is none: "is wrong", "is a trap", "fails", "makes no sense".
JUDGED_WRONG = (
    r"(?:(?:not (?:even )?)?(?:wrong|incorrect|false|untrue|impossible|implausible|mistaken|invalid|absurd|nonsense|misleading|"
    r"ruled out|eliminated|excluded|discarded|rejected|refuted|dismissed|out of the question|off the table)|(?:an? |only |"
    r"just |one |his |her |their |my )+(?:\w+ )?(?:trap|distractor|decoy|mistake|error|slip|guess|possibility|candidate|"
    r"red herring|example\b(?! of)|(?:wrong|false|incorrect|first) \w+|common (?:mis\w+|error|slip|trap|guess|pitfall|"
    r"assumption|confusion)|(?:wrong|false|incorrect) (?:answer|option|statement)))"
)
INSTRUCTION = PatternTable(
    r"^\W*(?:hints?|instructions?|system|(?:answer )?(?:format|template)|(?:example|sample)(?: (?:answer|output|response))?|"
    r"note to (?:the )?\w+)\s*\d?:|^\W*(?:mark|accept|grade) \S",
    r"^\W*please\b(?! (?:ignore|disregard) (?:that|this|my|the (?:previous )?box)\b)|^\W*(?:replace|insert|enter|copy|"
    r"submit)\b|^\W*(?:to|for) [^,]{1,40}, (?:box|write|put|enter|give|"
    r"state) (?:your|the)\b",
    r"^\W*(?:answer|respond|reply|end|finish|conclude|write|give|choose|select|pick|round|provide|put|box|mark|start|state)\s+"
    r"(?:with|the (?:question|answer|correct|option|letter|final|best)|your|in|one|from|between|this|as|it|down|to|"
    r"only)\b(?!\s+is\b|:\W{0,3}[A-J]\W*$)",
    r"^\W*(?:(?:ignore|disregard) (?:the (?!(?:previous )?box)|all|any|every|previous)|(?:count|treat|grade|score|"
    r"consider) (?:the|this|"
    r"all|any|every|previous|my))\b",
    r"^\W*(?:show|prove|explain|verify|determine|decide|check|justify|demonstrate)\s+(?:that|why|whether|if|how)\b",
    r"(?<!\bif i )\b(?:need|want|have|try(?:ing)?|asked|going|goal is|task is|aim is) to (?:find|determine|calculate|compute|"
    r"work out|"
    r"solve|count|identify|figure out|know|see|decide|check|choose|pick)\b",
    r"\b(?:must|needs?|ha(?:s|ve)) (?:to )?still\b|\bstill (?:must|needs?(?! [$€£]?\d)|ha(?:s|ve) to)\b|"
    r"^\W*to (?:find|get|determine|calculate|compute|solve)\b[^,]*,? (?:we|you|i) (?:can |must |will |should |first |need to )*"
    r"(?:use|apply|start|begin|look)\b|\bremains? to be \w+|\byour task\b|\b(?:expected|required|output|answer) format\b",
    r"\b(?:you|graders?|judges?|assistant|model) (?:should|must|can|need to|have to|are to|shall) (?:\w+ )?(?:write|answer|"
    r"reply|respond|say|end|mark|accept|count|give|choose)\b",
    r"\b(?:in the form|in the format|of the form|e\.g\.|such as) ['\"“]?(?:the )?(?:final )?answer\b",
    r"\banswers? (?:should|must) (?:look like|read|be in|follow|"
    r"be (?:written|given|formatted|put|in the form))\b|\b(?:format|template)\b.{0,20}['\"“‘]",
)
TAKEN_BACK = PatternTable(
    r"^\W*(?:and |but |oh,? |ah,? |so )?(?:wait|hmm+|hold on|hang on|oops|correction|edit|erratum|scratch that|strike that|"
    r"on second thoughts?|actually,? (?:no|wait)|actually|no,? wait|no(?=[:,.!]|$)|i mean|or rather|"
    r"(?:my|i) (?:mistake|bad|apolog\w+)|(?:i'?m )?sorry|apologies|never ?mind)(?!\w)[\s,:.!—-]*"
)
WITHDRAWS = PatternTable(
    TAKEN_BACK.pattern,
    r"\bi(?:'ve| have)? (?:made (?:an? )?(?:\w+ )?(?:mistake|error|slip)|misread|miscounted|miscalculated|was wrong|mixed up|"
    r"overlooked)\b",
    r"\b(?:that|this|which|(?:that|this) (?:answer|result|value|number)|the (?:box|answer|result|value|reasoning|solution|"
    r"calculation)(?: above| before)?|the above|it)"
    rf"(?:'s| is| was| seems| must be) (?:\w+ )?(?:{JUDGED_WRONG}|not (?:right|correct|valid)|a mistake|an error|"
    r"off)\b(?! to\b)",
    r"\b(?:that|this|it) (?:can'?t|cannot|can not|couldn't) be(?: (?:right|correct|true|it)|,? though|\W*$)",
    r"\b(?:just kidding|take (?:that|it|this) back|take back (?:what|my)|made (?:that|it|this) up|(?:was|is) a joke|"
    r"ignore (?:this|that|the above))\b",
    r"^\W*(?:false|wrong|incorrect|not|not really|not so|or not|(?:on|upon|after|but|hmm+|well|actually|"
    r"then)\b[^.,]{0,30},? no)\W*$",
    r"\b(?:ignore|disregard) (?:that|this|my|the (?:previous )?box)\b|"
    r"\b(?:don't|do not) (?:take|count|use) (?:that|this|it)\b|\bi have (?:none|no answer)\b|"
    r"\b(?:correct|change|revise|retract|withdraw) my (?:answer|choice)\b(?! to\b)",
    r"\blet(?: me|'s| us) (?:(?:count|think)(?: (?:it|them|that|this))? again|reconsider|recompute|recalculate|"
    r"recount|correct|redo|rethink|re-?examine|re-?read|try again|"
    r"start over)\b",
    r"\b(?:both|either)(?: of (?:them|these))?(?: answers?| options?)? (?:looks?|seems?|appears?|(?:could|might|may) be)"
    r"(?: \w+ly)? (?:possible|plausible|right|correct)\b|\b(?:can't|cannot|can not|unable to) (?:settle on|decide between|"
    r"choose between|make up my mind)\b",
    r"\b(?:contradict(?:s|ion)|doesn'?t (?:match|fit|add up)|does not (?:match|fit|add up))\b",
)
REAFFIRMS = PatternTable(
    r"\b(?:answer|result|value|that|this|it|which|solution|reasoning)(?:'s| is| was)? (?:(?!not|nearly|almost)\w+ )?(?:still |"
    r"indeed )?(?:right|correct|confirmed|verified|consistent)\b",
    r"\b(?:confirms?|verif(?:y|ies)|stands)\b",
    r"^\W*(?:yes|ok(?:ay)?|right|correct|good)\W*$",
)
REFUSES = PatternTable(
    r"^\W*(?:in order )?to (?:tell|say|determine|know|decide|be sure|answer)\b.*\b(?:required|needed|necessary|need|would)\b",
    r"\b(?:cannot|can't|can ?not|could not|couldn't|unable to|not able to|hard to|difficult to|impossible to|no way to|"
    r"not possible to|isn't possible to|is not possible|unclear|don't know|do not know|not (?:sure|certain)|unsure|give up|"
    r"hard to say)\b(?! (?:both|all|have|exceed|equal|be (?!\w+ed\b|sure|certain|known|seen|told|found|read|made)))",
    r"\b(?:insufficient|not enough|isn't enough|lack of|need (?:more|additional|further|the|to (?:see|know))|require more|"
    r"does(?: not|n't) (?:appear|seem) to be (?:computable|possible|determinable|readable|given|shown|provided)|"
    r"would (?:(?:need|require) (?:more|additional|further|the|to)|depend)|depends? (?:up)?on|"
    r"without (?:the|more|further|additional|any|specific|a(?! (?:partner|pair|match|remainder|doubt|break|gap)\b)|knowing|"
    r"seeing))\b",
    r"\bnothing can be (?:concluded|said|determined)\b|无法|不确定|\bnot (?:provided|specified|visible|listed|given|shown|"
    r"among the|one of the|available|determined|"
    r"determinable|known)\b",
    r"\b(?:(?:no|any) (?:idea|clue)|anyone's guess|beats me|no evidence|nothing (?:\w+ )?(?:suggests|shows|says|tells)|lacks?|"
    r"(?:refuse|decline) to|(?:not|n't) convinced)\b",
    r"^\W*(?:\w*error|exception|traceback)\b(?=.*\b(?:memory|exception|failed|time[d ]?out|invalid|cuda|limit|exceeded)\b)",
    r"^\W*(?:n/a|not applicable)\b|\b(?:this|the) (?:question|problem|task|prompt) (?:is|seems|appears) (?:to be )?(?:\w+ly )?"
    r"(?:incomplete|unclear|ambiguous|unanswerable|ill-posed|cut off|truncated|malformed)\b",
    r"\b(?:undetermined|indeterminate|undefined answer|unknown answer|just a guess|only a guess|be a guess|please provide|"
    r"i'?m sorry,? but)\b",
    r"\bno (?:correct |right |valid |single |given )?(?:answer|option|choice)s?\b(?! (?:is|are) needed)",
    r"\b(?:all|any|several|each|both) (?:of )?(?:the |these )?(?:options?|choices?|answers?|statements?)\b.{0,20}\b(?:is|are|"
    r"seems?|could|may|might) (?:\w+ )?(?:possible|plausible)",
    r"\bnone of (?:the|these) (?:\w+ )?(?:options?|choices?|answers?|statements?|values?)\b.*\b(?:is|are|fits?|match\w*|"
    r"works?|corresponds?|seems?|appl\w+|satisf\w+)\b",
    r"\b(?:none|neither) of (?:the|these|them|the two) (?:fits?|match\w*|works?|is (?:right|correct)|are (?:right|correct)|"
    r"apply|"
    r"applies)\b",
)
_NEGATIVE = (
    r"(?:trap|decoy|distractor|not|never|no way|nobody|no one|hardly|n't|doubt|incorrect|wrong|least|unlikely|implausible|"
    r"worst|tempting|misleading|opposite|false|bad|second|previous|earlier|first|initial|initially|old|another|other|"
    r"someone'?s|common|typical|popular|naive|what|whether|unless|suppose|assum(?:e|ing)|if|when)"
)
DENIED_AFTER = re.compile(
    r"^\W{0,6}(?:(?:definitely|certainly|clearly|surely|obviously|probably|therefore|thus|simply|likely) )?(?:['\"“]?not|≠|"
    r"\\neq?\b|n't|never|neither|nor|none of|anything but|far from|close to|(?:some|any)thing|hardly|nowhere|smaller than|"
    r"larger than|greater than|less than|more than|either\b(?=.*\bor (?:un|not|no|some))|other than|different from|unlike|"
    rf"unrelated|{JUDGED_WRONG}|no longer)"
    r"(?!\w)",
    re.IGNORECASE,
)
DENIED_BEFORE = re.compile(
    rf"(?<![\w-])(?:\w+)?({_NEGATIVE})(?:\s+[\w'-]{{1,14}}){{0,3}}\s+$|[✗✘❌][\s*]*(?:\w+\s+){{0,3}}$", re.IGNORECASE
)
DENIES = PatternTable(
    rf"\b(?:is|are|was|were|be|being|seems?|looks?)(?: \w+ly| also)? (?:{JUDGED_WRONG}|(?:un|im)(?:likely|plausible|probable)|"
    rf"too \w+)\b",
    r"(?:\b(?:is|are|was|were|do|does|did|can|could|will|would|should|must|has|have|may|might|need)(?:n't| not|not)|\bcannot|"
    r"\bcan't|\bwon't|\bnever|\bnot|\bno longer)\b",
    r"\b(?:eliminat\w+|rul(?:e|es|ed|ing) out|exclud\w+|discard\w*|reject\w*|neither|anything but|everything (?:but|except)|"
    r"far from|not even|by no means|avoid|doubt|deny|denies|differs?|different from|other than|unrelated|nothing to do with|"
    r"used to (?:be|have|live|work|think|say|believe)|fails|makes? no sense|contradicts|violates|lies beyond|no way|hardly|"
    r"rarely|seldom|"
    r"scarcely|barely|nowhere|disagree|no reason|tempting|careless|naive|suspicious|debatable|questionable|doubtful|(?:almost|"
    r"nearly) (?:right|correct|it)|leads? (?:nowhere|to a contradiction)|comes? close|plausible at|cross(?:ed|es)? out|"
    r"struck out)\b|不是|并非|错误|不正确|不对|排除|\bain't\b",
    r"\b(?:trap|distractor|decoy|red herring)\b|^\W*(?:wrong|incorrect|rejected|excluded)\b[^:]{0,12}:|\banswer is (?:smaller|"
    r"larger|greater|less|more|bigger|higher|lower) than\b|≠|\\neq?\b",
    rf"\b{JUDGED_WRONG} (?:answer|option|choice|value|result|statement)|"
    r"\b(?:mistake|wrong|false|error|incorrect|absurd|naive) (?:to|that)\b",
    r"\bso much for\b",
    r"\bno (?!doubt|need|matter|wonder|problem|choice|other|more|less|fewer|longer|later|earlier|wait|it|the|that|there|this|"
    r"i|we|you|they|he|she|not|sorry|actually|correction|so|since|because)[a-z]+",
    r"\bleast (?:likely|plausible|probable|suitable|appropriate|correct|reasonable)\b",
)
SUPPOSES = PatternTable(
    r"^\W*(?:and |so |but |then |now,? )?(?:suppose|assum(?:e|ing)|let(?:'?s| us| me) (?:say|assume|suppose|test|try|check)|"
    r"imagine|e\.g|for (?:example|instance)|had|were|unless|whether|in case|provided|hypothetically|theoretically|in theory|"
    r"as an example|(?:only )?if (?:so|not|only)|say)\b|\bin (?:the|this|that|an?) (?:\w+ )?(?:example|sample|worst case|draft|"
    r"exercise)\b|\b(?:might|may|could|would have) be(?:en)? (?:the (?:answer|correct|right)|correct|right|true)\b|^\W*(?:and |"
    r"so )?let \$?\w+\$? (?:be\b|=)",
    r",\s*say\b.*\b(?:we|you)'d (?:have|get)\b|\bif\b.*\b(?:were|had|would|could|might)\b|\b(?:would|could|"
    r"might)\b.*\bif\b",
    r"\b(?:it|there|they|this|answer|option|choice|value|number|[A-J]|\d+)\)? (?:might|may|could)(?: \w+ly| also| well|"
    r" just)? (?:be|have been)\b|\b(?:perhaps|maybe|possibly)\b",
    r"^\W*(?:如果|假设|若)|\bi (?:hope|wish|wonder)\b|\b(?:would|could|might) have been\b|\botherwise\b.*\bwould\b|\b(?:in|"
    r"for) (?:an?|another) [^.]{1,40}\banswer would\b|\bin (?:another|the (?:other|mirrored|opposite|reverse\w*|"
    r"general)) [^.]{1,40}\banswer (?:is|would)\b",
    r"\bwhether (?:it|there|the|they|this|that)\b|\b(?:(?<!most )often|usually|typically|generally|commonly|sometimes)\b",
    r",\s(?:or so (?:it|one|they|i|we)\b|at least (?:at first|initially)|said no|(?:unless|if) (?:i|we|it|the|my|this|that)\b)",
    r"\b(?:let|place|put|denote|label|call|name|take(?! back)|set|choose|pick|(?<!question )mark)\b.{1,30}"
    r"\b(?:be (?:the|a|an)|as (?:the|a|an|our|my)|by|at) (?!(?:\w+ ){0,2}(?:answer|option|choice))",
    r"\b(?:second|other|another|alternative|possible|candidate|potential|one) (?:opinion|guess|choice|candidate|answer|"
    r"possibility)\b|\bone of the (?:options|choices|candidates|possibilities)\b|\boptions include\b",
    r"(?<!only [A-J] )\b(?:satisf(?:y|ies)|would (?:also )?(?:fit|work|do))\b|\b(?:(?:option|choice) [A-J]|"
    r"[B-HJ])\)? would (?!be the)",
    r"^\W*(?:(?:(?:looking at|considering)(?! the (?:(?!case|option|choice|scenario|possib|alternative|value|"
    r"guess)\w+ ?){1,4}:| it (?:again|closely|more)\b| the (?:\w+ )?(?:graph|figure|"
    r"image|picture|photo|diagram|chart|plot|table|bars?|"
    r"data|map|clock|scale|axis|given)\b)|testing|trying|checking|examin\w+|starting with)\b(?!.*\banswer)|consider\b|take\b)",
)
# Who may say what is not the response's own word: a name, "my friend", "most people"; not "the figure", "it" or "we".
_ONE = (
    r"(?:student|friend|teacher|classmate|brother|sister|mother|father|colleague|someone|somebody|he|she|one|user|model|"
    r"calculator|key|hint|prompt|caption|reader|website|attempt|approach|draft|textbook|book|wikipedia|google|internet|rumou?r|"
    r"official solution|whoever|who|everyone|everybody|(?:chat)?gpt\S*)"
)
_MANY = (
    r"(?:people|websites|(?:text)?books|others?|students|friends|they|you|(?:many|most|some|those)(?= (?:who|would|might|may|"
    r"could|say|think|"
    r"answer|choose|pick)\b)(?: who)?)"
)
_NAME = (
    r"(?-i:(?!(?:It|This|That|These|We|There|The|Which|What|Here|And|So|But|As|If|Answer|Final|Result|Option|Choice|"
    r"Solution|Conclusion|Response|Output|Correct|Explanation|Reason)\b)[A-Z][a-z]+)"
)
_SAYS = (
    r"(?:(?:say|claim|think|argue|believe|answer|guess|suggest|pick|choose|insist|vote|state|list|write)(?:e?d|s)|guesses|said|"
    r"thought|wrote|chose|told|replie[ds]|has it)"
)
_SAY = r"(?:say|print|claim|think|argue|believe|answer|guess|suggest|pick|choose|write|be (?:tempted|inclined))"
_MAY = r"(?:might|may|could|would)"
_SPEAKS = (
    rf"(?:(?:\b{_ONE}(?: (?:next|beside|from|in|at|on|of) (?:\w+ ){{0,2}}\w+)?|{_NAME})(?: \w+ly)? (?:{_SAYS}|{_MAY} {_SAY})|"
    rf"\b{_MANY} (?:\w+ )?(?:{_MAY} )?{_SAY})"
)
_FIGURE = (
    r"(?:the|this|these|its|our|pythagor\w+|\w+'s (?:theorem|law|rule|formula))\b(?! (?:\w+ )?(?:student|teacher|hint|key|"
    r"book|girl|boy|man|"
    r"woman|person|author|speaker|expert|caption|user|prompt|textbook|others?))"
)
QUOTES = PatternTable(
    rf"{_SPEAKS}\b(?: (?:think|say|guess|believe|answer|assume|argue|expect|pick|choose))?"
    r"(?=.*\b(?:answer|option|it is|it's|that)\b|\W*[\w.]{1,6}\b\W*\w*\W*$|,? but)",
    rf"^\W*(?:(?:my|his|her|our|an?|the) )?(?:\w+ )?{_SPEAKS}\b(?! be\b)",
    rf"(?:{_NAME}|\b{_ONE}|students|friends)'s? (?:\w+ )?(?:answer|guess|choice|opinion|idea|result|solution|view)\b",
    rf"\b(?:{_ONE}|{_MANY})(?: in \w+)? (?:(?:gives?|gave)(?! away| back)|got(?! (?:on|off|in|out|up)\b)|shows?|lists?|"
    rf"proposed|would (?:get|conclude))\b",
    r"\bpreviously\b|\b(?:previous|earlier|old) (?:calculation|attempt|answer|result|try)\b",
    r"\b(?:was|were|is|been) (?:given|proposed|suggested|chosen|claimed|answered|picked|said) by (?!\d|the (?:graph|figure|"
    r"chart|table|formula))",
    rf",\s(?:says?|said|claims?|claimed) (?:{_NAME}|(?:the |my )?{_ONE}|{_MANY})|\b{_MANY} say\b",
    rf"^\W*(?:{_NAME}\s?:\s?[\"'“]|{_ONE}\s?:)|\bwhat {_SPEAKS}\b",
    r"\b(?:is|was|are|were|been) (?:\w+ly |often |widely )?(?:said|thought|claimed|believed|supposed|alleged|reported|"
    r"rumou?red|told|mentioned|assumed)\b",
    r"\b(?:supposed|alleged|so-called)(?:ly)?\b|\breportedly\b|\brumou?r\b",
    r"\bi (?:almost|nearly|was (?:going|about|tempted|inclined)|used to|had)\b|\b(?:initially|originally),? i\b",
    r"\b(?:first|initially|originally|at first(?: glance)?)\b.*\b(?:thought|guess\w*|assum\w+|seems?|looks?|appears?|think)\b",
    r"\bat first glance\b|\bmy (?:first|initial) (?:guess|answer|thought)\b",
    rf"\baccording to (?!{_FIGURE})|\b(?:option|choice|statement) [A-J]\b (?:says|states|reads|claims)\b",
    r"\b(?:says|reads|claims?) \d[^.]*,? but\b|\b(?:provided|given|previous|stated|listed|suggested) answer (?:of|is|was)\b",
    r"\b(?:common|typical|frequent|easy|usual|classic|natural) (?:slip|mistake|error|pitfall|misconception|trap|fallacy|"
    r"confusion) (?:here |there )?(?:is|was|would be) to\b",
    r"\b(?:yesterday|last time),? (?:i|we|you|my|the (?:answer|result))\b|\banswers? (?:to|of|for) (?:an?other|(?:the |"
    r"a )?(?:previous|last|next|other|earlier|"
    r"similar|bonus)) ",
)
REMARKS = PatternTable(
    r"^\w+ ?= ?[\[{(]\s*['\"]",
    r"^[^\w∞∅]*$|^\((?=(?:[^()]*[a-z]{2,}){2})[^()]*\)\W*$|^\(\w{1,3}(?:\([^()]{1,9}\))?\s?=[^()=]*\)\W*$",
    r"^\W{0,4}(?:i hope (?:this|that helps|it helps|it is correct)|let me know|please let me|please feel|feel free|"
    r"do you (?:have|want|need)|(?:this|that|it|which) (?:can be \w+|is (?:\w+(?:ed|en|wn|ible)|read|found|"
    r"clear))(?: off)? (?:in|from|on|by) (?:the|"
    r"this) (?:\w+ )?(?:image|picture|photo|figure|graph|chart|diagram|table|map|data)\W*$|is there anything|(?:shall|can|may|"
    r"should) i\b|if you (?:have|need|want)|would you like|note that|note\W|notes\W|thank|remember|confidence\b|(?:this|that|"
    r"which)(?:'s| is) (?:the|my|our) (?:final |correct |required |desired )?(?:answer|result|solution|decomposition|form|"
    r"expression|equation|"
    r"value)(?: of the [\w ]{1,30})?\W*$|(?:yes,? )?(?:this|that|it) (?:works|checks out)\W*$|(?:grade|score|"
    r"rating)\s?: ?\d+ ?/|disclaimer|explanation:?\W*$|"
    r"(?:to )?(?:(?:double|cross)[ -]?check|check|verif\w+|proof|test|note|sanity check)\b[^:.]{0,20}:|```|---)",
)
CONCLUDES = PatternTable(
    r"^\W{0,6}(?:(?:step \d{1,2}|conclusion)\W{1,4})?(?:and\s+)?(?:therefore|thus|hence|so(?! far\b)|consequently|finally|"
    r"in conclusion|in summary|as a result|accordingly|overall|to summari[sz]e|leaving|giving|making|yielding|resulting in|"
    r"which (?:gives|leaves|makes)|this means|we (?:get|have|find|conclude|obtain)|it follows|∴)(?!\w)|^\W{0,6}(?:因此|所以|"
    r"综上)"
)
LABELS = re.compile(r"(?<![\w\\])(?:\(([A-J])\)|([A-J])[.):](?=\s))")
# "The options given are Yes, No, and …"
OPTIONS_ARE = (
    r"(?:the |your |my )?(?:(?:given|possible|available|answer) )?(?:options|choices)"
    r"(?: (?:given|here|listed|provided|available|above|below|shown|we have))* (?:are|were|include)\b"
)
LETTERS_LISTED = PatternTable(
    r"(?<![\w(])\(?([A-J])\)?(?:,\s*(?:and |or )?\(?[A-J]\)?){2,}",
    r"\b(?:options?|choices?)\b(?! \(?[A-J]\)? (?:is|"
    r"must)\b)[^.:]{0,20}:",
    rf"^\W*{OPTIONS_ARE}",
)
IF = PatternTable(r"^\W{0,4}(?:and |so |but |then |therefore,? |thus,? |hence,? )?if\b", r"\S\s+if\s")
# "10 people did not vote"
COUNTED = re.compile(
    r"^\W*(?:[a-z]+[ ,]+){0,3}\d[\w ,.]{0,40}\b(?:do|does|did|have|has|were|are|was|will)(?:n't| not) (?!the |an? |correct|"
    r"right|enough|possible|valid|true)\w+",
    re.IGNORECASE,
)
ADJECTIVES = re.compile(
    r"\b(?:not|never|neither|wrong|incorrect|false|impossible|invalid|least|unlikely|except|opposite|other|first|second|worst|"
    r"differ\w*|common)\b|n't",
    re.IGNORECASE,
)
# A letter or number as a sentence's subject is claimed by few predicates ("is correct", "is the answer", "is the longest").
SUBJECT = re.compile(
    r"^\W*(?:(?:so|thus|hence|therefore|clearly|obviously|then|but|and|here)\b[\s,]*)*(?:(?:the )?(?:option|choice|answer|"
    r"letter|value|number)\s+)?[\"'“(\[$*]*(?:(?-i:[A-HJ])|-?\d[\d.,/]*(?:\s?(?:°|%|[a-z]{1,3}(?<!\bis)))?)[\"'”)\]$*.°]*(?:,? "
    r"(?:though|however|then))?,?\s+(?:(?:\w+ly|also) )?(?P<verb>is|was|has|had|looks?|seems?|appears?|could|may|might|would|"
    r"comes?|came|leads?|violates?|fails?|makes?|breaks?|contradicts?|can|will|should|must)\b(?P<rest>.*)$",
    re.IGNORECASE | re.DOTALL,
)
CLAIMING = re.compile(
    r"^(?:\W|be\b|have to be\b|been\b(?! \w+ (?:out|by))|\w+ly\b(?<!nearly)|thus|therefore|indeed|then|also|still|just|really|"
    r"in fact)*(?:(?:the|our|my)\b(?!.{0,20}\b(?:wrong|first|other|previous|second|opposite|decoy|distractor|trap|example))|"
    r"missing|option|choice|correct|right|true|valid|consistent|appropriate|accurate|chosen|selected|equal|left|shown|needed|"
    r"required|visible|best|better|more|most|less|(?!other|never)\w+(?:er|est)|what (?:we|i|is|you|the)|how|where|"
    r"an? (?:correct|valid|solution|root|better|good|right|\w+ (?:answer|choice|match|fit))|it|sense|[\d(=<]|at|on|"
    r"in\b(?! (?:question|doubt))|between|next|parallel|perpendicular|along)",
    re.IGNORECASE,
)
# What "I" or "we" do when they claim; "I considered", "I disagree with", "we tried" claim nothing.
OWN_VERB = PatternTable(
    r"^\W*(?:(?:so|thus|hence|therefore|then|but|and|now|here|well|yes|no|finally|clearly)\b[\s,]*)*(?:i|we)\s(?!am\b|are\b|"
    r"was\b|were\b|have\b|had\b|do\b|did\b|can\b|could\b|would\b|will\b|must\b|should\b|may\b|might\b|need\b|also\b|then\b|"
    r"now\b|\w+ly\b|think|believe|conclude|say|choose|chose|pick|select|get|got|find|found|see|saw|count|obtain|obtained|know|"
    r"guess|estimate|determin|repeat|confirm|forg[eo]t|miss|overlook|misread|add|report|infer|deduce|go|went|answer|note|"
    r"observe|calculat|comput|identif|opt|use|add|subtract|multiply|divide|simplif|solve|measure|arrive|end|reach|notice|read|"
    r"feel|suspect|stand|settle|mean|derive|learn|recogni|look|compare|check|set|let|substitute|plug|divid|recall|start|look|"
    r"assum|consider(?!ed)|deal|want|take|round|convert|apply|draw|define|write|eliminat|rul|denote)(?=\w)",
)
LABELLED = re.compile(r"^[\s*>•-]{0,6}(?:\(([A-J])\)|([A-J])\s?\*{0,2}(?:[.):](?!\.)|\W*$|\s[✓✔✅✗✘❌×]))")
JUDGING = re.compile(r"^[\s*>•-]{0,6}\(?[A-J]\)?\s?\*{0,2}[.):]\**\s*\**(?:no|yes)\b(?=\W+\w)", re.IGNORECASE)
APPROVED = re.compile(
    r"^\W*\(?[A-J]\)?[.):]?[\s*]*(?:true|correct)\b[\s*]*[–—:,.;-]\s*\S|"
    r"^\W*\(?[A-J]\)? is (?:the )?(?:correct|right)\b|[:.(–—-]\s*\*{0,2}(?:yes|correct|right|true)\b(?=\W*$|[!.,;:])|"
    r"[✓✔✅](?:\W*$|\s\()",
    re.IGNORECASE,
)
DISAPPROVED = re.compile(
    r"^\W*\(?[A-J]\)?[.):]?[\s*]*(?:false|incorrect|wrong|not (?:true|correct))\b[\s*]*[–—:,.;-]\s*\S|"
    r"^\W*\(?[A-J]\)? is (?:incorrect|wrong)\b|[:.(–—-]\s*\*{0,2}(?:incorrect|wrong|false|no)\b(?=\W*$|[!.,;:])|[✗✘❌×](?:\W*$|"
    r"\s\()",
    re.IGNORECASE,
)
LIST_HEAD = re.compile(r"^\W*(?:options?|choices?)\s?:\s*", re.IGNORECASE)
