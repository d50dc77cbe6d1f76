"""Words and what they mean, as tables. Columns are parted by ``|``; ``[brackets]`` mark the words the rater looks for."""

OPPOSITES = """
hot|cold|[Summer] is hot and winter is cold.
big|small|An [elephant] is big and an ant is small.
fast|slow|A [train] is fast and a snail is slow.
old|young|A [grandfather] is old and a baby is young.
light|heavy|A [feather] is light and a stone is heavy.
happy|sad|A [birthday] child is happy and a lost child is sad.
loud|quiet|[Thunder] is loud and a library is quiet.
hard|soft|A [rock] is hard and a pillow is soft.
wet|dry|A [fish] is wet and the desert is dry.
full|empty|A [packed] bus is full and a new jar is empty.
rich|poor|A [king] is rich and a beggar is poor.
strong|weak|An [ox] is strong and a newborn lamb is weak.
high|low|A [mountain] is high and a valley is low.
long|short|A [river] is long and a pencil is short.
wide|narrow|A [motorway] is wide and a garden path is narrow.
deep|shallow|The [sea] is deep and a puddle is shallow.
clean|dirty|A [washed] shirt is clean and a muddy boot is dirty.
sweet|sour|[Honey] is sweet and a lemon is sour.
bright|dark|[Noon] is bright and midnight is dark.
open|closed|A [shop] is open by day and closed by night.
early|late|[Breakfast] is early and supper is late.
easy|difficult|[Counting] is easy and chess is difficult.
cheap|expensive|A [pencil] is cheap and a diamond is expensive.
thick|thin|A [dictionary] is thick and a sheet of paper is thin.
smooth|rough|[Glass] is smooth and bark is rough.
sharp|blunt|A new [knife] is sharp and an old one is blunt.
brave|afraid|A [knight] is brave and a mouse is afraid.
kind|cruel|A good [friend] is kind and a tyrant is cruel.
near|far|The [neighbour] is near and the moon is far.
left|right|We [write] from left to right.
up|down|A [lift] goes up and down.
inside|outside|The [stove] is inside and the garden is outside.
first|last|[Monday] comes first and Sunday comes last.
begin|end|A [lesson] can begin at nine and end at ten.
buy|sell|[Customers] buy and merchants sell.
give|take|[Grandparents] like to give and children like to take.
laugh|cry|We laugh at a [joke] and cry at a farewell.
push|pull|You push a [pram] and pull a sledge.
win|lose|One [team] will win and the other will lose.
arrive|leave|[Trains] arrive and leave all day.
remember|forget|We remember a [holiday] and forget a boring day.
ask|answer|[Pupils] ask and teachers answer.
love|hate|[Cats] love warm places and hate cold water.
day|night|The [sun] shines by day and the stars by night.
friend|enemy|A friend [helps] you and an enemy does not.
war|peace|In war people [suffer] and in peace they can rest.
true|false|That snow is [cold] is true, and that it is warm is false.
always|never|The [sun] always comes back and never stays away.
before|after|We [wash] our hands before a meal and rest after it.
above|below|The [clouds] are above us and the cellar is below us.
more|less|A [bucket] holds more and a cup holds less.
many|few|A [forest] has many trees and a desert has few.
awake|asleep|By day we [work] and are awake, by night we are asleep.
calm|stormy|The [harbour] is calm and the open sea is stormy.
polite|rude|A [thankful] guest is polite and a shouting one is rude.
generous|mean|A generous man [shares] and a mean one does not.
careful|careless|A [doctor] is careful and a clumsy boy is careless.
honest|dishonest|A [judge] should be honest, and a thief is dishonest.
busy|idle|A [bee] is busy and a sleeping cat is idle.
fresh|stale|[Morning] bread is fresh and last week's bread is stale.
raw|cooked|A [salad] is raw and a soup is cooked.
tall|tiny|A [giraffe] is tall and a flea is tiny.
straight|crooked|A [ruler] is straight and an old tree is crooked.
tight|loose|A new [knot] is tight and an old shoe is loose.
wild|tame|A [wolf] is wild and a house cat is tame.
ancient|modern|A [pyramid] is ancient and a computer is modern.
noisy|silent|A [market] is noisy and the night is silent.
safe|dangerous|A [bridge] is safe and thin ice is dangerous.
guilty|innocent|A [thief] is guilty and a child is innocent.
success|failure|A good [plan] brings success and a bad one failure.
"""
"""Word, its opposite, an example sentence."""

DEFINITIONS = """
a kettle|a pot for [boiling water]|You find it in the [kitchen].
a compass|a tool that shows where [north] is|[Sailors] and hikers use it.
a lighthouse|a tower with a bright light for [ships]|It stands on the [coast].
a telescope|a tube with lenses for looking at [faraway things]|It is good for watching the [stars].
a microscope|a device that makes [tiny things] look big|[Scientists] use it every day.
a library|a place where people [borrow books]|It is usually very [quiet] there.
a hammer|a tool for driving [nails]|It has a heavy [head] and a handle.
a ladder|a thing with rungs for [climbing]|You use it to pick [apples].
an umbrella|a folding roof against the [rain]|You carry it in your [hand].
a calendar|a list of all the [days] of a year|It often hangs on the [wall].
a thermometer|a tool that measures [temperature]|It tells you if you have a [fever].
a scale|a tool that measures [weight]|A [baker] uses it for flour.
a volcano|a mountain that can throw out [hot rock]|The hot stream is called [lava].
an island|a piece of land with [water all around]|You reach it by [boat].
a desert|a wide land with very little [rain]|Few [plants] can live there.
a glacier|a slow river of [ice]|It lies high in the [mountains].
a waterfall|a place where a river [drops] over a cliff|You can hear its [roar] from far away.
a harbour|a safe place for [boats]|The waves are [small] there.
a bridge|a road that leads [over] a river or valley|It is made of wood, [stone] or steel.
a tunnel|a road that leads [through] a mountain|It is [dark] without lamps.
an orchard|a garden full of [fruit trees]|It is in [bloom] in spring.
a vineyard|a field where [grapes] grow|Most of the harvest becomes [wine].
a bakery|a shop that makes [bread]|It smells best in the [morning].
a museum|a house where [treasures] are shown|You usually need a [ticket].
a theatre|a house where [plays] are shown|The audience [claps] at the end.
an orchestra|a large group of [musicians]|A [conductor] leads it.
a choir|a group of people who [sing] together|Many meet in a [church].
a recipe|a plan for [cooking] a dish|It lists everything you [need].
a dictionary|a book that explains [words]|They stand in order of the [alphabet].
an atlas|a book full of [maps]|It shows all the [countries].
a diary|a book for writing down your [days]|Many people keep it [secret].
a novel|a long story in a [book]|It can have hundreds of [pages].
a poem|a short text with [rhythm]|Some lines may [rhyme].
a proverb|a short wise [saying]|Old people often know [many].
a rumour|a story that nobody has [checked]|It spreads very [quickly].
a promise|a word that you will [keep]|It is a matter of [trust].
a compromise|an agreement where both sides [give way]|In the end both are fairly [content].
patience|the skill of [waiting] calmly|[Gardeners] have a lot of it.
courage|doing what is right although you are [afraid]|[Heroes] show it.
curiosity|the wish to [know] more|It makes [children] ask questions.
gratitude|feeling [thankful]|It makes other people [glad].
a budget|a plan for your [money]|It helps you to [save].
a receipt|a paper that shows what you [paid]|[Keep] it if you want to return something.
an auction|a sale where the [highest offer] wins|It ends when the [hammer] falls.
a deadline|the [latest] time for finishing something|It is wise to finish a little [earlier].
a detour|a [longer] way around something|Drivers take it when a road is [blocked].
a souvenir|a small thing that [reminds] you of a trip|People buy it on [holiday].
a suitcase|a box for carrying [clothes] on a trip|Many have little [wheels].
a passport|a small book that lets you [cross borders]|It holds your [photograph].
a passenger|a person who [rides] in a vehicle|He or she needs a [ticket].
a neighbour|a person who [lives next] to you|It is good to be on [friendly] terms.
an orphan|a child without [parents]|Kind [relatives] may take care of it.
a stranger|a person you do not [know]|One day he may become a [friend].
a nap|a [short sleep]|Many people take it after [lunch].
a breakfast|the first [meal] of the day|Many people have [toast] and tea.
a picnic|a meal in the [open air]|You sit on a [blanket].
a hobby|something you do for [pleasure]|You do it in your [free] time.
a puzzle|a game of [pieces] that fit together|It needs a good [eye].
a kite|a toy that [flies] on a string|It needs some [wind].
a snowman|a figure made of [snow]|Its nose is often a [carrot].
a scarecrow|a figure that keeps [birds] away|It stands in a [field].
a bonfire|a big fire in the [open]|People like to [sing] around it.
a drought|a long time without [rain]|The [harvest] suffers from it.
a flood|too much [water] on dry land|It comes after heavy [storms].
an earthquake|a [shaking] of the ground|Strong ones can damage [houses].
an eclipse|a time when the moon [hides] the sun|It only lasts for some [minutes].
a comet|a ball of ice with a bright [tail]|It travels around the [sun].
a seed|the beginning of a [plant]|It sleeps in the [earth].
a root|the part of a plant under the [ground]|It drinks [water] for the plant.
a herb|a plant that gives [taste] or heals|[Mint] is one of them.
a hive|a house for [bees]|It is full of [honey].
a stable|a house for [horses]|It smells of [hay].
"""
"""Noun, definition, a sentence about it."""
