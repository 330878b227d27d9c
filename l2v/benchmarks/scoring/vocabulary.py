"""Words of questions and answers: those that name nothing, and those with one meaning."""

from __future__ import annotations

# Words that name nothing: they may stand in any sentence, and be left out of one.
_NEUTRAL_WORDS = """
a an the is are was were be been being am has have had do does did done will must there here it its itself this that
these those they them their he him she her his i we us you my our of in on at to for from with by as and or so thus
hence therefore then which what who whom whose where when why how many much can see seen find found get gets got give
gives given giving make makes making yield yields gain obtain obtained count counted equal equals come comes coming
leave leaves leaving show shows shown showing display displays displayed depict depicts depicted indicate indicates
according read reads say says based contain contains figure image picture photo photograph diagram graph chart plot
table illustration drawing map question answer option options choice correct solution value values number numbers
measure measures measured about approximately approx around roughly exactly just also only clearly likely visible
following use using determine calculate compute what's it's let please such because since amount quantity name names
named called degree degrees unit units text frac sqrt overline mathrm located result represent represents correspond
corresponds occur occurs occurred take takes took exact actual main yes no express write evaluate simplify solve work
among between during through until than lie lies written actually really indeed inspection closer look looks looking
appear appears seem seems me probably percent hundred thousand million billion dozen estimate carefully careful problem
real all interval notation recounting missing reach reaches reached highlighted marked pictured indicated denoted letter
label piece lists listed next goes going but now like should output assistant year years dollar dollars simplifies
simplifying form simplest simplified out course think believe sure fairly certain go guess pick choose not well i'd i'm
i'll you'd celsius cubic match matches fit fits coordinates finally still thing nor describe describes described happen
happens after recorded achieved accounts account magnitude size belong belongs toward towards relationship relation
section slice category set doing needed required painted colored coloured labeled labelled example tag identify any
consequently amounts covers works used consist consists averages travels moves stand stands standing sit sits sitting
hang hangs hanging surveyed polled present feature capture include portray exhibit demonstrate highlight
illustrate reveal group cast expression uses however nevertheless nonetheless approximate"""
NEUTRAL = frozenset(_NEUTRAL_WORDS.split())
NEUTRAL |= {word + end for word in NEUTRAL - {"like", "slice"} if len(word) > 3 for end in ("s", "d", "ed")}
# Words with one meaning here, a line each.
GROUPS = """average mean
median middle
closest nearest
intersect cross meet
big large
small tiny little
limit tends tend
perimeter circumference
length distance long far
width wide
height tall high taller higher
speed velocity fast faster
slope gradient
mass weight weigh heavy heavier
price cost charge expensive pay paid spend spent money
highest largest greatest maximum biggest most max tallest peak
lowest smallest least minimum fewest min
difference more gap apart exceed exceeds
fewer less
left remain rest remaining
total sum altogether together combined
age old
person people individual
object item
subtract remove
probability chance likelihood
wrong incorrect false mistake mistaken error flaw
receive return back
movie film
car vehicle automobile
population inhabitant resident
bike bicycle
child kid
sofa couch
job profession occupation
author writer
shop store
visit visitor
dominant predominant mostly"""
FORMS = """win won
sell sold
buy bought
fall fell fallen drop decline decrease
rise rose risen increase
wear worn
chosen chose picked selected
grow grew grown
drive drove driven
run ran
hold held
build built"""
