"""Facts about the world, as tables. Columns are parted by ``|``; ``[brackets]`` mark the words the rater looks for."""

CAPITALS = """
France|Paris|Lyon|It lies on the river [Seine].
Spain|Madrid|Barcelona|It lies in the [middle] of the country.
Italy|Rome|Milan|It is famous for the [Colosseum].
Germany|Berlin|Munich|It lies on the river [Spree].
Portugal|Lisbon|Porto|It lies near the mouth of the [Tagus].
Greece|Athens|Patras|The [Acropolis] stands above it.
Austria|Vienna|Graz|It lies on the [Danube].
Hungary|Budapest|Debrecen|The [Danube] flows through it.
Poland|Warsaw|Krakow|It lies on the [Vistula].
Norway|Oslo|Bergen|It lies at the end of a long [fjord].
Sweden|Stockholm|Gothenburg|It is built on fourteen [islands].
Finland|Helsinki|Turku|It lies on the [Baltic] coast.
Denmark|Copenhagen|Aarhus|A little [mermaid] sits by its harbour.
Ireland|Dublin|Cork|It lies on the river [Liffey].
Iceland|Reykjavik|Akureyri|Its houses are heated by hot [springs].
the Netherlands|Amsterdam|Rotterdam|It is known for its many [canals].
Belgium|Brussels|Antwerp|It is known for its grand old [square].
Switzerland|Bern|Zurich|It lies in a bend of the [Aare].
the Czech Republic|Prague|Brno|It lies on the [Vltava].
Slovakia|Bratislava|Kosice|A white [castle] stands above it.
Slovenia|Ljubljana|Maribor|Its symbol is a [dragon].
Croatia|Zagreb|Split|It lies on the river [Sava].
Serbia|Belgrade|Nis|The Sava meets the [Danube] there.
Bulgaria|Sofia|Plovdiv|It lies at the foot of Mount [Vitosha].
Romania|Bucharest|Cluj|It has a huge [parliament] building.
Ukraine|Kyiv|Odesa|It lies on the [Dnipro].
Estonia|Tallinn|Tartu|It has an old town with stone [walls].
Latvia|Riga|Liepaja|It lies on the [Daugava].
Lithuania|Vilnius|Kaunas|It lies on the river [Neris].
Turkey|Ankara|Istanbul|It lies on a high [plateau].
Russia|Moscow|Kazan|The [Kremlin] stands in its centre.
Egypt|Cairo|Luxor|It lies on the [Nile].
Morocco|Rabat|Casablanca|It lies on the [Atlantic] coast.
Tunisia|Tunis|Sfax|The ruins of [Carthage] are close by.
Algeria|Algiers|Oran|Its old houses are painted [white].
Kenya|Nairobi|Mombasa|A park with [lions] begins at its edge.
Ethiopia|Addis Ababa|Gondar|It lies high in the [mountains].
Ghana|Accra|Kumasi|It lies on the [Gulf] of Guinea.
Nigeria|Abuja|Lagos|It lies near a great [rock].
Senegal|Dakar|Thies|It lies at the western [tip] of Africa.
Uganda|Kampala|Entebbe|It is built on many [hills].
Zambia|Lusaka|Ndola|It lies on a high [plateau].
China|Beijing|Shanghai|The [Forbidden] City is in its centre.
Japan|Tokyo|Osaka|It lies on a wide [bay].
South Korea|Seoul|Busan|It lies on the river [Han].
Vietnam|Hanoi|Hue|It lies on the [Red] River.
Thailand|Bangkok|Chiang Mai|It has hundreds of [temples].
India|New Delhi|Mumbai|It lies on the river [Yamuna].
Nepal|Kathmandu|Pokhara|It lies in a valley of the [Himalayas].
Pakistan|Islamabad|Karachi|It lies below the [Margalla] hills.
Bangladesh|Dhaka|Sylhet|It is known for its painted [rickshaws].
Iran|Tehran|Isfahan|It lies below the [Alborz] mountains.
Iraq|Baghdad|Basra|It lies on the [Tigris].
Jordan|Amman|Aqaba|It has an old Roman [theatre].
the Philippines|Manila|Cebu|It lies on a large [bay].
Canada|Ottawa|Toronto|In winter people skate on its long [canal].
the United States|Washington|New York|The [White House] stands there.
Cuba|Havana|Holguin|It is known for its old [cars].
Jamaica|Kingston|Negril|It has a deep natural [harbour].
Peru|Lima|Cusco|It lies on the [Pacific] coast.
Chile|Santiago|Valparaiso|It lies below the [Andes].
Argentina|Buenos Aires|Cordoba|It is the home of the [tango].
Brazil|Brasilia|Recife|Seen from above it looks like an [aeroplane].
Uruguay|Montevideo|Salto|It lies on the river [Plate].
Colombia|Bogota|Medellin|It lies high in the [Andes].
Ecuador|Quito|Guayaquil|It lies close to the [equator].
Venezuela|Caracas|Maracaibo|It lies in a long [valley].
Australia|Canberra|Sydney|It is built around a [lake].
New Zealand|Wellington|Auckland|It is known for its strong [wind].
"""
"""Country, capital, another city of the country, a sentence about the capital."""

ANIMALS = """
dog|dogs|puppy|in [houses] with people|[meat] and biscuits
cat|cats|kitten|in warm [homes]|[fish] and mice
cow|cows|calf|on [meadows]|[grass]
horse|horses|foal|in [stables]|hay and [oats]
sheep|sheep|lamb|on green [pastures]|[grass] and herbs
pig|pigs|piglet|in a [sty]|roots and [corn]
goat|goats|kid|on rocky [hills]|leaves and [shrubs]
hen|hens|chick|in a [coop]|[grain] and worms
duck|ducks|duckling|on small [ponds]|water [plants]
goose|geese|gosling|beside [rivers]|[grass]
swan|swans|cygnet|on quiet [lakes]|water [plants]
fox|foxes|cub|in a [den]|[mice] and berries
wolf|wolves|pup|in deep [forests]|[deer]
bear|bears|cub|in [caves] and forests|[berries] and fish
lion|lions|cub|on the [savannah]|[zebras]
tiger|tigers|cub|in the [jungle]|deer and wild [pigs]
elephant|elephants|calf|on wide [plains]|leaves and [bark]
deer|deer|fawn|in the [woods]|leaves and [buds]
rabbit|rabbits|kit|in a [burrow]|[clover]
kangaroo|kangaroos|joey|in [Australia]|[grass]
owl|owls|owlet|in hollow [trees]|[mice]
eagle|eagles|eaglet|on high [cliffs]|[hares] and fish
frog|frogs|tadpole|in [ponds]|[flies]
butterfly|butterflies|caterpillar|in sunny [gardens]|[nectar]
seal|seals|pup|on cold [coasts]|[fish]
whale|whales|calf|in the [ocean]|[krill]
penguin|penguins|chick|on [southern] coasts|[krill] and fish
camel|camels|calf|in the [desert]|dry and [thorny] plants
giraffe|giraffes|calf|on the [savannah]|[acacia] leaves
squirrel|squirrels|kit|high up in [trees]|[nuts]
hedgehog|hedgehogs|hoglet|under [hedges]|[beetles]
beaver|beavers|kit|in a [lodge] of branches|[bark]
otter|otters|pup|along clean [rivers]|fish and [crabs]
bat|bats|pup|in dark [caves]|[moths]
hare|hares|leveret|in open [fields]|[herbs]
pigeon|pigeons|squab|on [rooftops]|[seeds]
donkey|donkeys|foal|in [stables]|[hay]
zebra|zebras|foal|on the [savannah]|[grass]
bee|bees|larva|in a [hive]|[nectar]
spider|spiders|spiderling|in a [web]|[flies]
trout|trout|fry|in clear [streams]|[insects]
panda|pandas|cub|in mountain [forests]|[bamboo]
koala|koalas|joey|in [Australia]|[eucalyptus] leaves
turtle|turtles|hatchling|in warm [seas]|[seaweed]
crocodile|crocodiles|hatchling|in warm [rivers]|[fish]
mouse|mice|pup|in small [holes]|[grain] and seeds
"""
"""Animal, plural, young, where it lives, what it eats."""

COLOURS = """
grass|green|blue|It stays fresh when there is enough [rain].
fresh snow|white|grey|It is made of tiny [crystals].
the clear sky|blue|green|The air scatters the light of the [sun].
a ripe banana|yellow|red|It grows in warm [countries].
a ripe tomato|red|purple|It tastes good in a [salad].
coal|black|white|It comes from deep [mines].
an orange|orange|blue|It is full of sweet [juice].
chocolate|brown|green|It is made from [cocoa].
milk|white|yellow|It comes from [cows].
a lemon|yellow|brown|It tastes very [sour].
blood|red|blue|It carries [oxygen] through the body.
a carrot|orange|black|It grows under the [ground].
a frog|green|pink|It can hide well among the [leaves].
a raven|black|yellow|It is a very clever [bird].
a flamingo|pink|green|Its colour comes from the [shrimps] it eats.
an elephant|grey|red|Its skin is very [thick].
a polar bear|white|brown|It can hide well in the [snow].
a sunflower|yellow|blue|It turns its head to the [light].
a strawberry|red|grey|It ripens in early [summer].
a cucumber|green|purple|It is mostly made of [water].
lavender|purple|orange|It smells wonderful in a [garden].
an aubergine|purple|yellow|It is tasty when it is [fried].
a plum|purple|white|It has a hard [stone] inside.
honey|golden|blue|It is made by [bees].
sand at the beach|yellow|purple|It is made of tiny [stones].
a pine tree|green|orange|It keeps its [needles] in winter.
soil|brown|pink|Many [worms] live in it.
a swan|white|red|It swims on quiet [lakes].
a ladybird|red|white|It has small black [spots].
a crow|black|orange|It builds its [nest] high in a tree.
rice|white|green|It grows in wet [fields].
a pumpkin|orange|blue|It is used for [soup] in autumn.
a pea|green|red|It grows in a [pod].
a cherry|red|brown|It grows on [trees].
butter|yellow|purple|It is made from [cream].
ash|grey|green|It is what a [fire] leaves behind.
ivory|white|black|It comes from the [tusks] of elephants.
copper|reddish brown|green|It is used for [wires].
gold|yellow|grey|It never turns [rusty].
silver|grey|brown|It is used for [spoons] and rings.
the deep sea|blue|orange|Little [light] reaches the bottom.
a stop sign|red|green|Drivers must [halt] in front of it.
a kiwi|green|blue|Its skin is brown and [hairy].
cotton|white|brown|It is spun into [cloth].
a mouse|grey|green|It likes to hide in small [holes].
a violet|purple|brown|It flowers early in [spring].
a zebra|black and white|orange|Every one has its own pattern of [stripes].
"""
"""Thing, colour, wrong colour, a sentence about it."""

JOBS = """
bakes bread|baker|tailor|The day begins very [early] for this person.
looks after teeth|dentist|farmer|It is wise to go there twice a [year].
grows corn and keeps cows|farmer|pilot|The work changes with the [seasons].
flies an aeroplane|pilot|butcher|Long [training] is needed for this job.
puts out fires|firefighter|painter|This person drives a big red [engine].
teaches children at school|teacher|sailor|A good one is very [patient].
cuts hair|hairdresser|plumber|The main tools are [scissors] and a comb.
mends broken pipes|plumber|singer|People call this person when a [tap] drips.
sews suits and dresses|tailor|baker|The main tools are a [needle] and thread.
brings the letters|postman|dentist|This person walks or cycles many [miles].
looks after sick animals|vet|carpenter|Most patients have [four] legs.
builds tables and chairs|carpenter|nurse|The work is done with [wood].
sells meat and sausages|butcher|pilot|The shop keeps everything very [cold].
drives a train|train driver|gardener|This person must watch every [signal].
plants flowers and cuts hedges|gardener|waiter|Most of the work is done [outside].
paints pictures|painter|driver|The finished works may hang in a [museum].
writes books|writer|plumber|A book can take many [months].
brings the food to the table|waiter|miner|Guests often leave a small [tip].
cooks in a restaurant|cook|postman|The busiest hour is [dinner] time.
catches fish at sea|fisherman|lawyer|The boat leaves before [sunrise].
digs for coal|miner|florist|It is hard work under the [ground].
cares for people in a hospital|nurse|builder|There is work by day and by [night].
treats sick people|doctor|cobbler|Studying for it takes many [years].
repairs shoes|cobbler|doctor|The workshop smells of [leather].
sells flowers|florist|fisherman|There is most to do before a [wedding].
speaks for people in court|lawyer|baker|The work needs a good knowledge of [rules].
lends out books|librarian|firefighter|It is a good job for people who like [quiet].
repairs cars|mechanic|dancer|The work makes your hands [dirty].
builds houses|builder|librarian|The first thing to do is to lay the [foundation].
sails a ship|sailor|teacher|Many weeks are spent far from [home].
catches thieves|police officer|florist|The job asks for courage and a [calm] head.
plays the violin in an orchestra|musician|mechanic|It takes hours of [practice] every day.
makes bread flour from grain|miller|lawyer|The work was once done with the help of [wind].
looks at the stars|astronomer|tailor|The main tool is a [telescope].
takes photographs|photographer|miller|Good [light] matters most in this job.
puts glasses on people's noses|optician|sailor|First the [eyes] are tested.
shoes horses and works with iron|blacksmith|optician|The iron is heated in a [fire].
watches over sheep|shepherd|astronomer|A clever [dog] helps with the work.
keeps bees|beekeeper|musician|The reward is fresh [honey].
shows visitors around a city|guide|blacksmith|A good one knows many [stories].
"""
"""What someone does, who that is, somebody else, a sentence about the job."""

QUANTITIES = """
How many sides does a triangle have?|A triangle has [three] sides.|four|A square has one [more].
How many sides does a square have?|A square has [four] sides.|five|All of them have the same [length].
How many legs does a spider have?|A spider has [eight] legs.|six|That is two more than an [insect] has.
How many legs does an ant have?|An ant has [six] legs.|eight|That is true of all [insects].
How many minutes are in an hour?|An hour has [sixty] minutes.|ninety|Half an hour has [thirty].
How many seconds are in a minute?|A minute has [sixty] seconds.|thirty|That is about as long as ten slow [breaths].
How many hours are in a day?|A day has [twenty-four] hours.|thirty|People sleep for about a [third] of them.
How many days are in a week?|A week has [seven] days.|eight|Two of them make the [weekend].
How many months are in a year?|A year has [twelve] months.|ten|Seven of them have [thirty-one] days.
How many weeks are in a year?|A year has about [fifty-two] weeks.|forty|That makes [thirteen] weeks for each season.
How many fingers are on one hand?|A hand has [five] fingers.|six|The shortest one is the [thumb].
How many wheels does a bicycle have?|A bicycle has [two] wheels.|three|A [tricycle] has one more.
How many wheels does a car have?|A car has [four] wheels.|five|Most also carry a [spare] one.
How many strings does a violin have?|A violin has [four] strings.|nine|They are played with a [bow].
How many strings does a guitar have?|A guitar usually has [six] strings.|three|They are plucked with the [fingers].
How many eggs are in a dozen?|A dozen means [twelve] eggs.|ten|They are often sold in a [box].
How many colours does a rainbow have?|People count [seven] colours in a rainbow.|five|The outermost one is [red].
How many planets go around the sun?|There are [eight] planets around the sun.|eleven|The largest one is [Jupiter].
How many legs does a horse have?|A horse has [four] legs.|two|It can even sleep while [standing].
How many wings does a bird have?|A bird has [two] wings.|four|Not every bird can [fly] with them.
How many players are in a football team?|A football team has [eleven] players.|nine|One of them keeps the [goal].
How many years are in a century?|A century has a [hundred] years.|fifty|Ten of them make a [millennium].
How many corners does a cube have?|A cube has [eight] corners.|four|It also has twelve [edges].
How many letters does the English alphabet have?|The English alphabet has [twenty-six] letters.|thirty|Five of them are [vowels].
"""
"""Question, answer, wrong number, a sentence that goes with it."""

SEASONS = """
spring|winter|summer|The trees get new [leaves] then.
summer|spring|autumn|The days are long and [warm] then.
autumn|summer|winter|The leaves turn red and [fall] then.
winter|autumn|spring|The nights are long and [cold] then.
"""
"""Season, the one before, the one after, what it is like."""

MONTHS = """
January|31
February|28
March|31
April|30
May|31
June|30
July|31
August|31
September|30
October|31
November|30
December|31
"""
"""Month, its number of days in a common year."""

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
