"""Vocabulary and sentence templates of the stand-in's answers."""

import re


def _items(text: str) -> tuple[str, ...]:
    """Splits a semicolon-separated block into its items."""
    return tuple(" ".join(item.split()) for item in text.split(";") if item.strip())


def _lines(text: str) -> tuple[str, ...]:
    """Splits a block into its non-empty lines."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _crossed(text: str) -> tuple[str, ...]:
    """Combines the verb of each line (before the colon) with each of its objects."""
    pairs = (line.split(":", 1) for line in _lines(text))
    return tuple(f"{verb.strip()} {item}" for verb, objects in pairs for item in _items(objects))


def _words(text: str) -> frozenset[str]:
    """Splits a block of words at its white space."""
    return frozenset(text.split())


OCCUPATIONS = _items("""
accordion repairer; acoustic engineer; actuary; aerial photographer; air traffic controller; airport chaplain;
allotment warden; ambulance dispatcher; anaesthetist; animal nutritionist; antiques appraiser; aquarium keeper;
arborist; archivist; art restorer; asphalt crew foreman; assay chemist; astronomer; auction clerk; audiologist;
auditor; avalanche forecaster; baggage handler; bail bondsman; bailiff; baker; balloon pilot; ballet accompanist;
bank teller; barge skipper; barista; bass guitarist; beekeeper; bell founder; bicycle mechanic; bilingual court
interpreter; biostatistician; blacksmith; boat builder; book conservator; bookbinder; border guard; botanist;
brewery chemist; bricklayer; bridge inspector; bus driver; butcher; cabinetmaker; call centre trainer; camera
operator; canal engineer; car park attendant; cardiac nurse; carpet weaver; cartographer; casino croupier; caterer;
cattle auctioneer; cave guide; ceramicist; charity fundraiser; cheese affineur; chess coach; chicken farmer; child
psychologist; chimney sweep; choir director; civil registrar; claims adjuster; climbing instructor; clockmaker; cloud
infrastructure engineer; coal geologist; coastguard officer; cobbler; cocoa importer; columnist; comic book artist;
commodities trader; community midwife; company secretary; compliance officer; concert promoter; concrete technician;
conference interpreter; coroner; cosmetics formulator; costume designer; cotton ginner; court stenographer; crane
operator; credit analyst; cricket umpire; crime novelist; crop insurance agent; cruise ship purser; curriculum
designer; customs broker; cybersecurity analyst; dairy farmer; dam operator; dance therapist; data journalist; debt
counsellor; demographer; dental hygienist; detective sergeant; dialect coach; dietitian; district judge; diving
instructor; documentary editor; dog groomer; dramaturge; dressmaker; driving examiner; drone surveyor; dry stone
waller; economist; elevator mechanic; embroiderer; emergency planner; entomologist; epidemiologist; estate agent;
ethnographer; event photographer; exam invigilator; falconer; family lawyer; farrier; fashion buyer; fencing coach;
ferry captain; film archivist; fire investigator; fish market porter; fisheries inspector; flight attendant; floor
manager; florist; food bank coordinator; football scout; forensic accountant; forest ranger; foster carer; foundry
worker; freight forwarder; fruit picker; funeral director; furniture upholsterer; game warden; gardener; geneticist;
geography teacher; glassblower; glaciologist; goat herder; gold panner; grain elevator manager; grant writer; graphic
novelist; greenhouse manager; grief counsellor; grocer; gunsmith; hairdresser; handwriting examiner; harbour pilot;
harp maker; heating engineer; helicopter medic; herbalist; heritage officer; historian of science; hospice nurse;
hostel keeper; hotel concierge; housing officer; human rights lawyer; hydrologist; ice cream vendor; illustrator;
immigration adviser; indexer of academic books; industrial chemist; insurance underwriter; interior decorator;
investment banker; irrigation engineer; jazz drummer; jeweller; jockey; juvenile probation officer; kindergarten
teacher; kitchen porter; lab technician; labour organiser; land surveyor; landscape architect; laundromat owner; law
librarian; legislative aide; lexicographer; librarian; lift engineer; lighthouse keeper; lighting designer; lobster
fisherman; locksmith; logistics planner; loom technician; lorry driver; luthier; machinist; magician; mail carrier;
marine biologist; market researcher; martial arts teacher; mathematician; medical illustrator; meteorologist;
microbrewery owner; mill operator; mine safety inspector; missing persons investigator; mortgage adviser; mosaic
artist; motorcycle courier; mountain guide; museum registrar; mushroom grower; music therapist; mycologist; naval
architect; neonatal nurse; neurologist; news producer; night porter; notary; nuclear technician; nursery owner;
obituary writer; occupational therapist; oceanographer; oil rig cook; olive grower; opera prompter; ophthalmologist;
optician; orchard manager; organ builder; ornithologist; orthodontist; osteopath; paediatrician; paint chemist;
palliative care doctor; paper conservator; paralegal; paramedic; parish clerk; park ranger; pastry chef; patent
attorney; pathologist; pawnbroker; payroll clerk; pension fund trustee; perfumer; pest controller; pet shop owner;
pharmacist; philosophy tutor; phlebotomist; physiotherapist; piano tuner; pipeline welder; plant breeder; plasterer;
playwright; plumber; podcast host; poet; police photographer; political cartoonist; polling station officer; port
authority planner; potter; press officer; primary school head; prison librarian; private tutor; product tester;
property manager; prosthetist; public defender; public transport planner; puppet maker; quality inspector; quarry
manager; quilt maker; radio presenter; radiographer; railway signaller; rare book dealer; reference librarian; refugee
caseworker; reindeer herder; restaurant critic; retail buyer; rice farmer; road safety engineer; roofer; rope maker;
rugby physio; sailmaker; salt harvester; scaffolder; school bus driver; school counsellor; science teacher; screen
printer; scrap dealer; sculptor; seamstress; secondhand bookseller; security guard; seed bank curator; seismologist;
set painter; sewage engineer; sheep farmer; ship broker; shipyard welder; shoe designer; sign painter; silversmith;
ski patroller; small claims mediator; smallholder; social worker; software tester; soil scientist; solar installer;
sommelier; sound engineer; special needs teacher; speech therapist; sports statistician; stage manager; stained glass
maker; station master; steel erector; stonemason; stunt coordinator; subtitler; sugar beet farmer; surgeon; swimming
coach; tailor; tattooist; tax inspector; taxi driver; taxidermist; tea buyer; telecoms engineer; tenants' union
organiser; textile historian; theatre usher; thatcher; tile setter; timber merchant; tour guide; town planner; toy
designer; toxicologist; trade union negotiator; traffic warden; train conductor; tram driver; translator; travel
agent; tree surgeon; trumpet teacher; truffle hunter; tunnel engineer; turbine technician; typographer; umbrella
maker; university registrar; upholstery apprentice; urban beekeeper; urologist; veterinary nurse; video game composer;
village postmaster; vineyard manager; violin teacher; volcanologist; wallpaper designer; warehouse supervisor; waste
collector; watchmaker; water diviner; weaver; web accessibility consultant; wedding planner; weighbridge operator;
wheelchair technician; whisky blender; wildlife rehabilitator; wind farm developer; window cleaner; wine merchant;
wood carver; wool grader; youth hostel manager; youth worker; zookeeper
""")

PLACES = _items("""
Aarhus; Aberdeen; Accra; Addis Ababa; Adelaide; Agadir; Alaska's Kenai Peninsula; Albuquerque; Aleppo; Algiers;
Alice Springs; Almaty; Amman; the Andalusian hills; Ankara; Antwerp; Apia; the Appalachians; Arequipa; Asmara;
Asunción; the Atacama; Auckland; the Azores; Baku; Baltimore; Bamako; Bandung; Banff; Bangalore; the Basque coast;
Batumi; Belfast; Belize City; Belo Horizonte; Bergen; Bhopal; Bilbao; Birmingham; the Black Forest; Bogotá; Bologna;
Bordeaux; Bratislava; Bremen; Bristol; Brno; Bruges; Bucharest; Buenos Aires; Buffalo; Bukhara; Bulawayo; Busan;
Calgary; the Camargue; Cape Breton; Cape Town; Cardiff; the Carpathians; Cartagena; Casablanca; Cebu; Charleston;
Chengdu; Chennai; Chiang Mai; Chicago's South Side; Chișinău; Christchurch; Cincinnati; Cluj; Cochabamba; Colombo;
Cork; Cornwall; the Cotswolds; Crete; Curitiba; Cusco; Dakar; Dalmatia; Dar es Salaam; Darwin; Davao; Delft; Denver;
Detroit; Dhaka; Dijon; the Dolomites; Donegal; Dortmund; Dubrovnik; Duluth; Dundee; Durban; East Anglia; Edmonton;
Eindhoven; El Paso; Essaouira; the Faroe Islands; Fez; Fiji; the Florida Keys; Fortaleza; Freetown; Fukuoka; Galway;
Gdańsk; Geneva; Genoa; Ghent; Glasgow; Gothenburg; Granada; Graz; Guadalajara; Guayaquil; Hamburg; Hanoi; Harare; the
Harz mountains; Havana; Hobart; Hokkaido; Houston; Hyderabad; Iași; Iceland's Westfjords; Innsbruck; Inverness;
Isfahan; Islay; Izmir; Jaipur; Jakarta; Kampala; Kansas City; Kaohsiung; Karachi; Kathmandu; Kazan; Kerala;
Kigali; Kingston; Kolkata; Kraków; Kumasi; Kyoto; La Paz; Lagos; Lahore; Lapland; Leeds; Leipzig; Liège; Lille; Lima;
Lisbon; Liverpool; Ljubljana; Łódź; Lofoten; Louisville; Luang Prabang; Lusaka; Luxor; Lviv; Lyon; Macau; Malmö;
Maputo; Marrakesh; Marseille; Medellín; Melbourne; Memphis; Milwaukee; Minneapolis; Mombasa; Montana; Montevideo;
Montreal; Mumbai; Muscat; Nagasaki; Nairobi; Nantes; Naples; Nashville; the Navajo Nation; New Orleans; Newcastle;
Nicosia; Normandy; Northumberland; Novi Sad; Oaxaca; Omaha; Oporto; the Orkney Islands; Osaka; Oslo; Ottawa; Oulu; the
Outer Hebrides; Palermo; Panama City; Patagonia; Penang; Perth; Peshawar; Philadelphia; Phnom Penh; Pittsburgh;
Plovdiv; Pondicherry; Portland; Prague; Pune; the Punjab; Quebec City; Quito; Reims; Reykjavík; Riga; Rostock;
Rotterdam; Saigon; Salamanca; Salvador; Samarkand; San Antonio; San Juan; Santiago; Sapporo; Sarajevo; Saskatchewan;
Savannah; Seville; Sheffield; the Shetlands; Sicily; Siem Reap; Skopje; Sofia; Spokane; Stavanger; Stuttgart; Suzhou;
Swansea; Tallinn; Tampere; Tangier; Tartu; Tasmania; Tbilisi; Thessaloniki; Thunder Bay; Tijuana; Tirana; Toledo;
Toulouse; Trieste; Tromsø; Tucson; Turin; Tyneside; Ulaanbaatar; Utrecht; Valencia; Valparaíso; Vancouver Island;
Varanasi; Verona; Vientiane; Vilnius; Wellington; Winnipeg; Wrocław; Wyoming; Yerevan; Yokohama; the Yorkshire Dales;
Yucatán; Zagreb; Zanzibar; Zaragoza; Zurich
""")

TRAITS = _items("""
absent-minded; abrasive; adventurous; affable; ambitious; analytical; anxious; argumentative; attentive; austere;
big-hearted; blunt; bookish; brisk; brooding; budget-minded; candid; cautious; chatty; cheerful; circumspect;
civic-minded;
clear-headed; combative; competitive; conscientious; contrarian; conventional; cosmopolitan; courteous; curious;
cynical; daring; deadpan; deliberate; devout; diplomatic; disorganised; dogged; down-to-earth; dreamy; dry-witted;
dutiful; earnest; easy-going; eccentric; eloquent; empathetic; energetic; enterprising; exacting; excitable;
fair-minded; fastidious; fiery; forgetful; formal; frugal; fussy; generous; gentle; gregarious; gruff; guarded;
hard-nosed; headstrong; homesick; hopeful; humble; hurried; idealistic; imaginative; impatient; impulsive; independent;
inquisitive; introverted; inventive; irreverent; kindly; laconic; level-headed; litigious; lonely; long-winded; loyal;
melancholy; methodical; meticulous; mild-mannered; mischievous; modest; nervous; nostalgic; observant; old-fashioned;
opinionated; optimistic; outspoken; overworked; patient; pedantic; persistent; pessimistic; plain-spoken; playful;
pragmatic; principled; private; proud; punctual; quick-tempered; quiet; rebellious; reflective; reserved; resourceful;
restless; romantic; sardonic; sceptical; scholarly; secretive; self-taught; sentimental; shrewd; shy; sociable;
soft-spoken; solitary; spirited; steady; stoic; stubborn; studious; superstitious; tactful; talkative; tender-hearted;
thorough; thrifty; tireless; unflappable; unhurried; unsentimental; wary; whimsical; witty; worldly
""")

STAGES = _items("""
retired; semi-retired; newly qualified; freshly graduated; mid-career; second-career; third-generation; part-time;
freelance; self-employed; recently promoted; recently widowed; newly married; twenty-something; thirty-something;
forty-something; fifty-something; sixty-year-old; octogenarian; early-career; long-serving; seasonal; travelling;
recently redundant; veteran; apprentice-trained; night-shift; returning; first-generation immigrant; expatriate;
homeschooling; divorced; soon-to-retire; trainee; award-winning; small-town; big-city; half-retired;
bilingual; left-handed; hard-of-hearing; wheelchair-using; colour-blind; formerly homeless; once-famous; unpaid;
co-operative; church-going; military-trained
""")

HABITS = _crossed(
    """
restores: brass microscopes; wooden dinghies; valve radios; railway lamps; hand looms; church clocks; pinball machines;
  rotary telephones; mangled umbrellas; slide rules
collects: tide tables; bus tickets; seed catalogues; defunct banknotes; bird rings; enamel signs; rejection letters;
  pressed ferns; tram maps; hotel soaps; lighthouse postcards; proverbs about weather
grows: heirloom beans; giant leeks; dwarf citrus trees; medicinal poppies; bonsai junipers; oyster mushrooms; chillies
  on a fire escape; sweet peas for shows
bakes: rye bread for the neighbours; oatcakes at dawn; custard tarts; flatbread on a hot stone; wedding cakes
keeps: a dream diary; a ledger of every meal eaten out; racing pigeons; rescue greyhounds; a rooftop weather station;
  three tarantulas; a log of the night sky; bantam hens; silkworms; minutes of family meetings
plays: bridge by correspondence; the hurdy-gurdy; walking football; chess in the park; the church organ; mah-jong for
  matchsticks; second violin in an amateur quartet; online backgammon; steel drums; the bagpipes after dark
sings: in a shanty choir; fado at closing time; lullabies in four languages; bass in a gospel group
runs: a repair café; marathons in fancy dress; a lending library of tools; a quiz night; ultramarathons; a puppet club;
  a neighbourhood watch; a chess ladder by post
builds: model viaducts; ships in bottles; kites from old maps; dry kilns; crystal sets; doll's houses; birdhouses from
  scrap; cardboard automata
writes: letters to the editor; limericks on receipts; science fiction at night; postcards to strangers; long reviews of
  short films; crossword puzzles; a blog on drainage; haiku about traffic
studies: dead languages; lichen; family trees; tax law for pleasure; medieval recipes; cloud formations; old court
  records; moths; canal history; sign language
swims: in cold lakes; before sunrise; lengths while planning the day; across harbours for charity
cycles: to every lighthouse on the coast; forty miles on Sundays; through winter; with a folding tandem
sketches: strangers on trains; derelict factories; bridges; fungi; courtroom scenes
mends: nets; clothes for the whole street; broken pottery with gold; bicycles for schoolchildren; old fiddles
volunteers: at a hospice shop; on a lifeboat; with stray cats; at the night shelter; as a beach warden; on a heritage
  railway; at an adult reading class; for the blood drive
photographs: abandoned petrol stations; doorways; thunderstorms; market stalls; the same oak every week; night buses
learns: Welsh from the radio; Morse code; tango; Esperanto; juggling; a new card trick a week; lock picking; calligraphy
watches: silent films; cricket on mute; planes landing; courtroom dramas; otters at dusk; cookery shows without cooking
brews: elderflower wine; strong coffee for the night shift; mead; kombucha; stout in the garage
walks: old pilgrim routes; six dogs at once; the parish boundary each spring; to work along the canal; lava fields
teaches: grandchildren to whittle; evening classes in bookkeeping; refugees to swim; folk dancing; first aid in schools
knits: socks during meetings; fishermen's jumpers; blankets for shelters; maps of imaginary islands
memorises: timetables; long poems; phone numbers; flags; the periodic table; football scores
repairs: hearing aids for pensioners; garden gates; old game consoles; accordions bought at auctions; stone walls
draws: invented alphabets; floor plans of childhood homes; caricatures of colleagues; star charts
hosts: a supper club; a radio hour for night workers; an annual conker contest; exchange students; a philosophy café
breeds: Shetland ponies; show rabbits; koi carp; butterflies; sheepdogs
translates: folk songs; instruction manuals for fun; love letters found in attics; old ship's logs
hoards: jam jars; ticket stubs; foreign coins; broken umbrellas; fabric scraps; wrapping paper; cables;
  unread newspapers; spare buttons; theatre programmes
argues: about grammar online; with referees; over planning notices; about the best route anywhere; with the radio
""".replace("\n  ", " ")
)

# The person's opinion of the document's subject: third person singular, used after "who".
ATTITUDES = _lines("""
follows every report on {k}
doubts most of what is said about {k}
has strong opinions about {k} and {k2}
would rather talk about {k} than about work
keeps a folder of clippings on {k}
lost money over {k} and wants to know why
sees {k} as a warning for the next generation
hopes that {k} will change how neighbours treat each other
explains {k} to anyone who will listen
is quietly fascinated by {k}
is tired of hearing about {k}
blames {k} for the way {k2} turned out
once gave a talk on {k} to a half-empty hall
compares {k} with {k2} at every opportunity
worries about what {k} means for people on low pay
is preparing a short course on {k}
remembers when nobody had heard of {k}
collects first-hand accounts of {k}
has a cousin caught up in {k}
wrote an angry letter about {k} and never posted it
wants clear figures on {k} before judging {k2}
thinks {k} deserves more attention than {k2}
turns every conversation towards {k}
is looking for practical advice on {k}
laughs at the fuss over {k}
built a small business around {k}
plans to travel because of {k}
checks the facts on {k} twice before sharing them
campaigns locally for a fairer approach to {k}
cannot decide whether {k} is a blessing or a nuisance
translates articles about {k} for friends abroad
uses {k} as an example in evening classes
argues that {k} was predictable from the start
reads about {k} on the way home
distrusts experts on {k} but quotes them anyway
has been asked to advise the council on {k}
is writing a family chronicle in which {k} plays a part
finds {k} moving and {k2} absurd
keeps a spreadsheet on {k}
changed careers after an encounter with {k}
""")

REASONS = _lines("""
after a bad winter
because a teacher once made it vivid
since the local paper closed
after a chance meeting on a train
because nobody else in the family does
since moving house for the third time
after losing a bet
because the insurance would not pay
ever since a strike at the old plant
after reading an uncle's diaries
because a child asked a good question
since the flood
following a long illness
after twenty years abroad
because the rent keeps rising
since a course at the library
after a documentary shown late one night
because silence felt wrong
since inheriting a box of papers
after an argument at a wedding
because the pension depends on it
since the bridge was closed
after a neighbour went to court
because it pays better than expected
since joining the parish council
after breaking a leg
because a sister works in the field
since the first grandchild arrived
after a trip paid for by raffle tickets
because the numbers never added up
""")

PERSONAS = _lines("""
{A_trait} {occ} from {place} who {habit} and {att}.
{A_stage} {occ} in {place} who {att}, and {habit} at weekends.
{A_trait} {stage} {occ} who {habit} and {att} {why}.
Based in {place}, {a_trait} {occ} who {att} {why}.
{A_occ} turned {occ2} from {place} who {att} and {habit}.
{A_stage} {occ} whose grandmother was {a_occ2} in {place}, and who {att}.
{A_trait} parent of three and {occ} in {place} who {att} and {habit} to unwind.
{A_occ} who {habit}, grew up near {place} and {att}.
Someone who trained as {a_occ}, settled in {place} and now {att}.
{A_trait} {occ} who left {place} {why} and {att}.
{A_stage} {occ} who {att}. A {trait} presence in {place}, this person also {habit}.
From {place}, {a_stage} {occ} with {a_trait} manner who {att}.
{A_trait} {occ} who shares a workshop in {place} with {a_occ2}, {habit} and {att}.
{A_occ} and weekend {occ2} from {place} who {att} {why}.
{A_trait} newcomer to {place} who works as {a_occ}, {habit} and {att}.
{A_stage} {occ} in {place}, {trait} by reputation, who {att}.
{A_trait} {occ} who {att}, though friends in {place} know only that this person {habit}.
Once {a_occ} in {place}, now {a_trait} {occ2} who {att}.
{A_stage} {occ} and carer for an ageing parent in {place} who {habit} and {att}.
{A_trait} student training to be {a_occ} in {place} who {att} {why}.
""")

RELATED_PERSONAS = _lines("""
The {rel} of {person}, {a_trait} {occ} from {place} who {habit} and {att}.
{A_trait} {occ} in {place}, known to {person} as a {rel}, who {att}.
{A_stage} {occ} who has long been the {rel} of {person} and {habit} in {place}.
{A_occ} from {place}, {rel} of {person}, who {att} {why}.
As the {rel} of {person}, {a_trait} {stage} {occ} who {habit} and {att}.
{A_trait} {occ} who moved to {place} {why}; the {rel} of {person}, and one who {att}.
{A_occ} working in {place}, the {trait} {rel} of {person}, who {habit} and {att}.
{A_stage} {occ} who shares the worries of {person} as a {rel}, {habit} and {att}.
{A_trait} {occ} and {rel} of {person}, back from {place} {why}, who {att}.
{A_occ} turned {occ2} in {place}, the {rel} on whom {person} relies, who {att}.
""")

# For relation labels that are not a plain noun ("works with", "patient-caregiver").
LABELLED_PERSONAS = _lines("""
{A_trait} {occ} from {place} who knows {person} ({rel}), {habit} and {att}.
{A_stage} {occ} in {place}, connected with {person} by a bond best called {rel}, who {att}.
{A_trait} {occ} who {habit}, met {person} in {place} ({rel}) and {att}.
{A_occ} turned {occ2} whose tie to {person} is {rel}, and who {att} {why}.
""")

RELATIONS = _items("""
apprentice; mentor; sister; brother; neighbour; colleague; former employer; landlord; tenant; student; teacher; patient;
physician; customer; supplier; rival; business partner; spouse; daughter; son; mother; father; grandchild; cousin;
godparent; childhood friend; flatmate; coach; teammate; assistant; supervisor; union representative; accountant;
solicitor; carer; biographer; critic; travelling companion; penfriend; choir partner; adviser; trainee; successor;
predecessor; investor; dentist; hairdresser; caretaker
""")

FIRST_NAMES = _items("""
Abena; Adaeze; Agnieszka; Aisha; Akira; Alma; Amina; Anders; Anil; Anouk; Arjun; Asha; Astrid; Ayla; Bao;
Beatriz; Bilal;
Bronwen; Camila; Carlos; Chidi; Chiara; Clara; Dagny; Dalia; Deepa; Dmitri; Ebele; Eero; Eilidh; Elif; Emeka; Esther;
Fatima; Femi; Finn; Freya; Gita; Goran; Greta; Hana; Hassan; Hiro; Ida; Ilse; Imani; Ines; Ioana; Isla; Ivo;
Jamal; Jana;
Jiho; Joana; Jonas; Kaito; Karim; Katya; Kofi; Lars; Layla; Leila; Lena; Liam; Linh; Lucia; Maeve; Malik; Marek; Mateo;
Mei; Mila; Milan; Nadia; Naoko; Nia; Niko; Noor; Nuria; Olga; Omar; Oona; Orla; Pavel; Petra; Priya; Quentin; Rafael;
Rania; Ravi; Rosa; Ruth; Samir; Sanna; Sefa; Selim; Sinead; Sofia; Sunita; Tadeo; Tariq; Tess; Thandi; Tomas; Uma; Vera;
Viktor; Wanda; Wen; Xavi; Yara; Yusuf; Zainab; Zoe
""")

SURNAMES = _items("""
Abara; Acheson; Adeyemi; Almeida; Andersen; Aydin; Banerjee; Barlow; Bianchi; Bisset; Castellan; Chaudhry; Chen; Costa;
Dlamini; Drummond; Duarte; Eklund; Farouk; Ferreira; Fontaine; Gallagher; Grigoryan; Haddad; Halvorsen;
Hargreave; Ibarra;
Ito; Jansen; Juma; Kaplan; Kaur; Kimura; Kowalski; Kruger; Lindqvist; Lopes; Mahlangu; Malhotra; Marchetti; Mbeki;
Mendoza; Moreau; Nakamura; Ndiaye; Novak; Nwosu; Oduya; Okafor; Olsen; Orlov; Pacheco; Papadakis; Pereira; Petrov;
Quispe; Rahman; Reyes; Rossi; Sandoval; Sato; Schreiber; Silva; Sokolov; Soto; Strand; Takeda; Tanaka; Thorne; Torres;
Usman; Vance; Varga; Vasquez; Verhoeven; Wahid; Walsh; Wang; Yilmaz; Zamora
""")

NAME_SOUNDS = _items("""
ae; al; ar; bel; bran; cor; dar; dre; el; fen; gal; gor; hal; il; jor; kel; lor; mar; mir; nal; nor; oth; per;
quil; ras;
ren; sel; syl; tal; tor; ul; var; ven; wyn; yor; zeph
""")
NAME_ENDS = _items("a; an; ara; as; dan; dil; dor; eth; ia; iel; in; is; mon; na; nor; os; ric; ros; th; wen; yn")
SPECIES = _items("""
human; dwarf; elf; half-elf; halfling; gnome; orc; goblin; river spirit; clockwork being; fox-kin; stone giant; merfolk;
owl-kin; ash sprite; forest troll
""")
CALLINGS = _items("""
innkeeper; ranger; alchemist; cartographer; healer; smith; bard; scout; archivist; ferryman; beast tamer; apothecary;
tinker; guard captain; merchant; hedge wizard; pit fighter; shrine keeper; relic hunter; cook
""")
ITEMS = _items("""
a brass compass; a cracked lantern; a ledger bound in eel skin; a bag of river salt; a bent copper key; a
spyglass without a
lens; three blank contracts; a rusted bell; a jar of glow moss; a folding knife; a charred map; a whistle carved
from bone;
a coil of silk rope; a loaf of journey bread; a sealed letter; a box of chalk; a pair of weighted dice; a cloak
with hidden
pockets; a bottle of storm water; an iron thimble
""")
SKILLS = _items("""
reading tracks in wet sand; haggling in five dialects; mending armour; forging seals; calming animals; brewing
antidotes;
climbing sheer walls; remembering faces; telling true coins from false; moving without a sound; setting bones; finding
water; playing the lute; picking old locks; predicting weather; bluffing at cards; patience under pressure; careful
record keeping; negotiation; mental arithmetic
""")
FEARS = _items("""
deep water; being forgotten; open flames; crowded halls; broken promises; the dark below the mill; heights; large dogs;
unpaid debts; silence; mirrors after midnight; saying goodbye; losing the shop; owing favours; a certain judge
""")

# Subjects for requests whose data has no usable words.
SUBJECTS = _items("""
tide tables; school budgets; bus timetables; river crossings; harvest festivals; night markets; public libraries; rain
gauges; apprenticeships; roof repairs; village halls; seed swaps; ferry fares; lost luggage; street lighting; winter
fodder; shared kitchens; market stalls; old maps; evening classes; bicycle lanes; letter writing; cold storage;
first aid
""")

LIBRARIES = _items("""
requests; pandas; numpy; sqlite3; python-dateutil; beautifulsoup4; pillow; networkx; scipy; lxml; geopy; matplotlib;
shapely; feedparser; openpyxl; PyYAML
""")
VERBS = _items("""
find; compare; estimate; check; plan; list; summarise; track; convert; schedule; match; rank; count; locate; forecast;
review; sort; draft; price; measure
""")
TOOL_NOUNS = _items(
    "Finder; Checker; Planner; Tracker; Estimator; Index; Ledger; Atlas; Helper; Calculator; Desk; Monitor"
)
VALUE_TYPES = _items("string; integer; number; boolean; array; object")
UNITS = _items(
    "crates; tickets; leaflets; samples; jars; parcels; seats; notebooks; tiles; hours; cards; lamps; sacks; rolls"
)
CATEGORIES = _items("""
local history; everyday science; household economy; public health; work and trade; travel; arts and crafts; law
and rights;
nature; education; technology; sport; food and drink; family life
""")
MOODS = _items(
    "hopeful; uneasy; amused; determined; wistful; curious; indignant; calm; proud; doubtful; grateful; restless"
)
COLOURS = _items("ochre; slate grey; teal; crimson; ivory; moss green; cobalt; rust; plum; sand; charcoal; amber")
COUNTRIES = _items("""
Ghana; Portugal; Chile; Vietnam; Norway; Morocco; Canada; Georgia; Peru; Kenya; Japan; Poland; Jamaica; Nepal; Iceland;
Turkey; Mexico; Senegal; Croatia; New Zealand
""")
LANGUAGES = _items(
    "English; Spanish; Hausa; Bengali; Welsh; Turkish; Portuguese; Swahili; Japanese; Polish; Tamil; Greek"
)

TITLES = _lines("""
{K} and the people of {place}
What {k} teaches {a_occ}
A short guide to {k}
{K}, {k2} and the price of patience
How {name} came to terms with {k}
Notes on {k} from {place}
Ten years of {k}
The trouble with {k}
{K}: questions that remain
Why {k} matters to {a_occ}
From {k} to {k2}
Living with {k}
""")

DESCRIPTIONS = _lines("""
Helps {a_occ} in {place} {verb} {k} and keeps {k2} in view.
Brings together what is known about {k}, with notes on {k2} for {a_trait} reader.
Gives a plain account of {k} as seen by {a_occ} who {habit}.
Sets out how {k} relates to {k2}, step by step, for someone short of time.
Looks at {k} in everyday use and says where it usually goes wrong.
Lets {a_occ} {verb} {k} without special training, and flags doubtful cases of {k2}.
Covers {k} for {a_trait} audience in {place}, with examples drawn from practice.
Explains in a few lines why {k} concerns {a_occ} and what to do about {k2}.
""")

INSTRUCTIONS = _lines("""
I am {a_occ} in {place} and need to explain {k} to {a_trait} colleague. Write a one-page note that also covers {k2}.
Draft a polite letter to the council about {k}, in the voice of {a_occ} who {habit}. Keep it under {n} lines.
Make a checklist of {n} points that {a_occ} should go through before dealing with {k}, ordered by urgency.
Compare {k} with {k2} for someone who has never met either, and end with a clear recommendation.
Plan a {n}-minute workshop on {k} for beginners in {place}, with timings and one exercise on {k2}.
Summarise what {a_trait} reader should know about {k}, then list three questions that remain open.
Turn my rough notes on {k} into a short talk. The listeners are mostly {occ2}s, so avoid jargon.
Suggest {n} names for a small project about {k} and explain in one line each why they would suit {place}.
Help me decide whether to spend {m} euros on {k}: give arguments for and against, and say what you would check first.
Write an interview guide with {n} open questions for {a_occ} who has worked with {k} for years.
Rewrite this announcement about {k} so that {a_trait} {occ} in {place} takes it seriously: "{K} starts on Monday."
Create a weekly routine for {a_occ} who wants to learn more about {k} but {habit} every evening.
""")

SENTENCES = _lines("""
{K} is often described in broad terms, yet the details matter most to those who deal with it daily.
In {place}, {a_occ} will usually meet {k} long before reading about it.
The first thing to settle is how {k} relates to {k2}, since the two are easily confused.
A survey of {m} households found that about {p} per cent had an opinion on {k}.
People who work with {k} tend to keep records, because memory is a poor guide.
It helps to begin with a small case: one street, one season, one question about {k}.
Some argue that {k} was always bound to change; others point to {k2} and disagree.
{name}, {a_occ} who has followed the matter for {n} years, puts it down to habit.
Costs vary, but {m} a year is a figure that comes up again and again.
Mistakes with {k} are seldom dramatic; they add up slowly until someone checks the figures.
For {a_trait} beginner the safest course is to compare notes with others.
There is an older meaning of {k}, still heard in {place}, that differs from the one used here.
What makes {k} difficult is not the idea but the timing.
Before {year}, few would have linked {k} with {k2}.
A good test is to explain {k} to a child and see where the explanation stumbles.
The link between {k} and {k2} is real, though weaker than headlines suggest.
When {k} fails, the reasons are usually ordinary: tired people, missing parts, unclear notes.
Visitors to {place} notice the effect of {k} within {n} days.
None of this settles the question of {k3}, which deserves a chapter of its own.
Training takes roughly {n} weeks, and most of that time goes into unlearning.
Written sources on {k} are patchy, so spoken accounts carry unusual weight.
One practical rule stands out: measure {k} twice and write down the date.
The numbers are modest, {n} cases in a typical month, but each one takes care.
Opinions differ about {k2}, and the disagreement itself is instructive.
Those who gain most from {k} are rarely those who pay for it.
A neighbour of {name} kept a diary of {k} that fills {n} notebooks.
By now the tools are cheap, and the hard part is deciding what to ask of {k}.
Seen from {place}, the debate about {k} looks smaller and more human.
It would be unwise to generalise from one season of {k}.
Patience pays: most problems with {k} become clear by the second week.
""")

BACKSTORIES = _lines("""
Born in {place} to {a_occ} and {a_occ2}, {name} learned early that {k} could feed a family or ruin it.
{name} served {n} years as {a_occ} before a quarrel over {k} ended that life.
After the great fire took the archive, {name} swore to gather every scrap of {k} again.
An old debt ties {name} to {place}, and only {k2} can settle it.
Few know that {name} once betrayed a friend for {k} and has been making amends ever since.
Now {name} {habit}, and listens for any rumour of {k2}.
""")

DIALOGUES = _lines("""
"Sit down, traveller. You look like someone who has heard of {k}."
"I do not sell {k} to strangers, but for a story about {k2} I might."
"Careful on the road to {place}. Last week {n} carts never came back."
"My mother was {a_occ}. She would have laughed at your idea of {k}."
"Ask me about {k} again and I shall charge you {n} coins."
"You want the truth? {K} was never lost. It was hidden."
"If you meet {name}, say that the matter of {k2} is settled."
"Quiet! Everyone here has an opinion on {k}, and most carry knives."
""")

WORLD_BACKSTORIES = _lines("""
{name} grew up beside {one} and learned early that {two} could feed a family or ruin it.
A quarrel over {one} cost {name} {n} friends, and the scar on the left hand is from that night.
{name} is tall, stooped and slow to smile, and keeps a list of everything that {one} owes to {two}.
An old debt ties {name} to {one}, and only {two} can settle it.
Few know that {name} once betrayed a friend for {one} and has been making amends ever since.
""")

WORLD_GOALS = _lines("""
Offers players a task about {one}, asks for news of {two} in return, and refuses whoever lies about either.
Trades in secrets of {one}; after {n} favours {name} tells what really happened with {two}.
Hides something that belongs to {one}, and gives it up only to somebody who has stood by {two}.
""")

WORLD_CALLINGS = _lines("""
keeper of {one}
clerk who answers for {one}
runner between {one} and {two}
repairer of {one}, in the pay of {two}
cook for all who come for {one}
""")

WORLD_GREETINGS = _lines("""
"Sit down. You look like somebody who has heard of {one}."
"I do not talk about {one} to strangers, but for a story about {two} I might."
"You want the truth about {one}? It was never lost. It was hidden, {n} steps from here."
""")

OPENINGS = _items("""
I am {a_occ} in {place}, and since last month {k} does not go together with {k2}. I have {n} hours a week for it. Where
would you begin?;
Can you help me with {k}? I have tried it {n} times, {why}, and each time {k2} was the part that failed.;
I have to decide about {k} by Friday. It would cost {m} euros, and {a_trait} colleague says that {k2} matters more. What
would you weigh?;
My question is about {k}. I know a little of it, but nothing about {k2}. Explain it to me without big words, please.;
We are {n} people and want to put {k} in order before the winter. Draft a plan that starts with {k2}.;
For {n} days I have kept notes on {k} and I see no pattern. What should I write down so that {k2} shows up?
""")

FOLLOW_UPS = _items("""
That helps, but it leaves out {k2}. What changes if I have only {n} minutes a day?;
I doubt the part about {k}: {a_occ} in {place} told me the opposite. Which of the two would you trust, and why?;
Good. Now give me the first step for {k} in one sentence, and say what to do if it fails.;
I forgot to say that {k2} is already paid for, {m} euros. Does your answer still hold?;
Which figure would tell me after {n} days that {k} is getting worse?;
Can you turn that into a list for {a_trait} beginner? Leave out everything about {k2}.
""")

REPLIES = _items("""
Begin with {k}: note for {n} days when it occurs, and what {k2} was like on those days. With {n} entries a pattern is
visible. If there is none, {k2} is not the cause, and I would look at the tools next.;
There are two ways. The first costs about {m} euros and settles {k} for good. The second is free, takes {n} weeks and
depends on {k2}. I would take the second unless you are in a hurry.;
The short answer is yes, under one condition: {k2} has to be checked first. Do it {why}. Then {k} takes about {n}
minutes, and you can repeat it alone.;
I assume that {k} is the larger share. Then do this: 1. Set {k2} aside. 2. Measure {k} {n} times. 3. Keep the median. A
difference of more than a tenth is worth a second look.;
Both can be right: {a_occ} sees {k} from one side, {k2} from the other. The test is simple. Change one of them for {n}
days and leave the other as it is.;
Here is the list: what {k} needs, who has it, what {k2} costs ({m} euros at most), and the day on which you stop. Do you
have someone who checks it after {n} days?
""")

GOALS = _lines("""
To find out who is behind {k} and put it right before winter.
To earn {m} coins and buy back the workshop in {place}.
To teach {n} apprentices everything about {k}.
To keep {k2} out of the wrong hands, whatever it costs.
To see {k} respected in {place} once more.
To write the first honest account of {k}.
""")

APPEARANCES = _lines("""
Tall and stooped, with a {colour} coat and the hands of {a_occ}.
A broad face, {colour} scarf and boots that have seen {place} twice.
Small, quick and {trait}, always with something {colour} pinned to the collar.
Weathered skin, {colour} eyes and a scar that is never explained.
Neatly dressed in {colour} wool, smelling faintly of ink and smoke.
""")

REMARKS = _lines("""
The {label} here turns on {k}, with {k2} close behind.
For {a_occ}, the {label} that counts is {k}.
A {trait} view of {k} that gives the {label} its shape.
{K} as it appears in {place}, the usual {label} for {a_occ}.
Mostly {k}; the {label} also touches {k2}.
The {label} rests on {k} and was checked against {k2} {why}.
""")

RATIONALES = _lines("""
Because {k} touches {k2} directly, and {a_occ} would notice it first.
The link runs through {k}: someone who {habit} meets it sooner or later.
It follows from what is said about {k}, and nothing about {k2} speaks against it.
{K} is the point that {a_trait} reader from {place} would raise first.
""")

STEPS = _lines("""
Write down what is known about {k} and mark the gaps.
Ask {a_occ} in {place} about {k2}.
Set aside {n} minutes to {verb} {k}.
Compare the result with {k2} and note the difference.
Repeat the check after {n} days and keep both figures.
Share a short summary of {k} with those concerned.
""")

ARGUMENTS = _lines("""
{ident} ({type}): the {k} to {verb}
{ident} ({type}): how {k} is given, one entry per line
{ident} ({type}): limit on {k}, {n} by default
{ident} ({type}): place to look in, such as {place}
""")

ARGUMENT_NOTES = _lines("""
The {k} to {verb}.
How many entries on {k} to return; {n} if left out.
Where to look for {k}, for example {place}.
Earliest year of {k} to take into account, such as {year}.
Whether {k2} counts as {k}.
The unit in which {k} is given.
""")

RETURNS = _lines("""
A JSON object with the {k} found, a score between 0 and 1 and a short note on {k2}.
A list of up to {n} entries on {k}, best first, each with a source and a date.
A single number: the estimate for {k}, in the unit of the input.
True if {k} is in order, otherwise false with the reason.
A table with one row per {k} and columns for date, place and amount.
""")

REFUSALS = _lines("""
I'm sorry, but I can't help with this request.
I am sorry, but I am not able to write about this material.
Sorry, I have to decline: this text is not something I can describe people from.
I can't assist with that.
""")

# Stop words of some common languages.
STOP_WORDS = _words("""
a able about above according accused across actually additional afp after again against ago ahead all almost along
already also although always am amid among amp an and announced announcing another any anything apparently april are
around as asked associated at auf august avec avoid away back based be became because become been before began
behind being believe believes below best better between billion both bring build built but buy by called calls came
can cannot certain change changes che claim click close closer com come comes comment comments common como complete
con consider continue cookies copyright could cut dans das day days de december decide del dem den der des despite
di did didn die different discuss do does doesn doing don done down drop due during each early easy effort ein eine
either el else email encourage end ended engage enough enter especially est etc even ever every everyone everything
expect expected face fact fall far february feel few finally find fine finish finished first five following for
force former found four free fresh friday from full further gave generally get gets getting give given gives go goes
going gone good got great grow had happen hard has hasn have having he heard held help her here hers herself high
higher him himself his hit hits hold home hope hour hours how however html http https if il important in include
includes including indeed instead into involved is isn ist it its itself january join july june just keep kept kill
kills know known la large largest las last late later latest le lead leader least led left les less let like likely
list little lives ll local login long look looking los lost lot low lower made main mainly mais major make makes
making man many march may maybe me mean means meanwhile meet men menu might million minutes missing mit monday month
months more most move mr mrs ms much multiple must my myself nbsp near nearly necessary need needs net never new
next nicht no non none nor normal not nothing november now october of off often old on once one only open opens or
order org other others our ours out over own page par para part past pay people per percent perhaps place planned
policy por possible posted potential potentially pour press pressure prevent privacy provide provides push put que
qui quite quot raise range rather re reach read ready real really reason receive recent recommend recommends release
remain reply report reported require reserved response rest result reuters right rights rise rising rose run runs
said same saturday saw say saying says scale search second see seem seems seen send sent separate september set
several shall share sharp she short should show shows side sign similar simple since single site six slow small so
sold some someone something sometimes sono soon special spend spokesman stand start started state statement stay
step still strong subscribe such sunday sur sure take taken takes taking talk tell ten term test than that the their
theirs them then there these they thing things think this those though three through thursday thus time times to
today together told too took top total toward towards tried true try tuesday turn twice two una und under understand
une until up upon us use used uses using usual various ve very via visit von wait want wants was wasn way ways we
weak website wednesday week weeks well went were weren what whatever when where whether which while who whole whom
whose why wide will win wins with within without won work worked working works worth would write wrote www year
years yes yesterday yet you young your yours yourself zu
""")

_MOULDS = (ATTITUDES, REASONS, PERSONAS, RELATED_PERSONAS, LABELLED_PERSONAS, TRAITS, STAGES, RELATIONS)

# The stand-in's own phrases must not become keywords when the input is one of its personas.
PHRASE_WORDS = frozenset(
    word
    for mould in _MOULDS
    for line in mould
    for word in re.findall(r"[a-z'-]{3,}", re.sub(r"\{\w+\}", " ", line.lower()))
)
