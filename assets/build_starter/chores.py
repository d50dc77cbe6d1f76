"""How-tos and advice, as tables. Columns are parted by ``|``; ``[brackets]`` mark the words the rater looks for."""

HOWTOS = """
make a cup of tea|fill the [kettle] and let it boil|put a [teabag] into a cup|pour the hot [water] over it and wait|leave the tea [in its box]
boil an egg|heat some [water] in a pot|lower the egg in with a [spoon]|take it out after six [minutes]|throw the egg [from the roof]
plant a tree|dig a deep [hole]|set the [roots] into it|fill in the earth and [water] it|cover the tree [with paint]
wash a shirt|fill a bowl with warm [water]|rub the shirt with [soap]|rinse it and [hang] it up|rub the shirt [with butter]
clean a window|mix water with a little [soap]|wipe the glass with a [sponge]|dry it with a soft [cloth]|throw [sand at] the glass
bake a cake|mix flour, eggs and [sugar]|pour the dough into a [tin]|bake it for an [hour]|put the dough [in the freezer]
cook rice|rinse the rice in a [sieve]|add twice as much [water]|let it [simmer] under a lid|feed the rice [to the birds]
write a letter|take a [sheet] and write the date|say what you want to [tell]|sign it and find an [envelope]|tear the sheet [to pieces]
send a parcel|put everything in a strong [box]|write the [address] on top|take it to the [post] office|hide the box [in the attic]
change a light bulb|switch off the [power]|unscrew the [old] bulb|screw in the [new] one|hit the lamp [with a stick]
wash the dishes|scrape off the leftovers [first]|wash everything in hot [soapy] water|let it dry on the [rack]|bury the plates [in the garden]
make a sandwich|cut two slices of [bread]|spread some [butter] on them|put [cheese] in between|put a [sock in] between
light a campfire|clear a [safe] place|build a small pile of dry [twigs]|light it with a [match]|pour [water over] the twigs
paint a wall|cover the floor with old [paper]|stir the [paint] well|roll it on from [top] to bottom|paint the [carpet first]
fix a flat tyre|take off the [wheel]|find the hole and [patch] it|pump the tyre up [again]|fill the tyre [with soup]
make a salad|wash the [lettuce]|cut the vegetables into small [pieces]|add oil and [vinegar]|add a cup [of glue]
sew on a button|thread a [needle]|pull the thread through the [holes] a few times|tie a firm [knot]|glue it to [your nose]
pack a suitcase|make a [list] of what you need|put the [heavy] things at the bottom|fill the gaps with [socks]|pack [everything twice]
water plants|check if the soil is [dry]|pour the water slowly on the [soil]|empty the [saucer] afterwards|pour [hot oil] on the leaves
brush a dog|let the dog [sniff] the brush|brush gently along the [fur]|give it a small [treat]|brush [against the] fur
make soup|chop the [vegetables]|boil them in [broth] until they are soft|season it with [salt]|add [soap flakes] to the pot
fold a paper boat|fold the sheet in [half]|fold the [corners] down|open it [gently] into a boat|crumple it [into a ball]
tidy a desk|take everything off the [desk]|throw away what you do not [need]|give each thing its own [place]|sweep it all [under the rug]
make jam|wash the [fruit]|cook it with [sugar]|fill it into clean [jars]|mix the fruit [with pepper]
learn a poem|read the poem [aloud] twice|learn one [verse] at a time|repeat it before you go to [bed]|close your [eyes and] ears
catch a bus|look up the [timetable]|be at the [stop] a little early|wave to the [driver]|run [behind the] bus
borrow a book|look for the [shelf]|take the book to the [desk]|show your [card]|hide the book [under your coat]
make a bed|shake out the [pillow]|pull the [sheet] tight|spread the [blanket] over it|put [wet leaves] on it
iron a shirt|warm up the [iron]|start with the [collar]|do the [sleeves] and hang it up|leave the iron [on the sleeve]
cook pasta|bring salted [water] to the boil|add the pasta and [stir]|[drain] it when it is tender|cook it for [three days]
feed a bird|buy a mix of [seeds]|put up a [feeder] out of reach of cats|keep it [clean]|offer it [salty soup]
clean a pair of boots|brush off the dry [mud]|rub in some [polish]|shine them with a [cloth]|put them in [the oven]
grow tomatoes|sow the [seeds] in spring|tie the plants to a [stick]|water them at the [roots]|keep them [in a cupboard]
build a snowman|roll a [big] ball of snow|set two [smaller] balls on top|give it a [carrot] nose|pour [warm water] on it
wrap a present|cut the [paper] to size|fold it around the box and [tape] it|tie a [ribbon] around it|wrap it in [wet towels]
calm a baby|hold it close in your [arms]|rock it [gently]|hum a [song]|bang two [pans together]
make coffee|grind the [beans]|put the powder into a [filter]|pour hot [water] over it|add the powder [to the sugar bowl]
set the table|spread a [tablecloth]|put out the [plates]|lay the forks and [knives]|pile the chairs [on the table]
make pancakes|whisk eggs, milk and [flour]|heat some butter in a [pan]|fry each one on both [sides]|drop the eggs [on the floor]
find a lost key|think where you [last] had it|look in all your [pockets]|search the [floor] with a lamp|buy [a new house]
"""
"""What to do, three steps in order, a bad step that replaces one of them."""

ADVICE = """
I cannot sleep at night|Go to bed at the [same] time every day|Keep your [bedroom] cool and dark|Put your [phone] away an hour before|drink strong [coffee at midnight]
I am nervous before an exam|Start to [revise] early|Get a good night's [sleep]|[Breathe] slowly before you begin|stay up [all night]
I have a cold|Drink plenty of warm [tea]|Stay in [bed] and rest|Put some [honey] in hot milk|go [swimming in] a cold lake
I forgot a friend's birthday|[Call] your friend today|Say that you are [sorry]|Offer to [celebrate] together soon|pretend that [nothing happened]
my neighbour is too loud|[Talk] to him calmly|Tell him which [hours] matter to you|Try some soft [earplugs]|throw [stones at] his window
I want to save money|Write down what you [spend]|Cook at [home] more often|Put a fixed [sum] aside each month|buy [lottery tickets] every day
I feel lonely|Join a [club] in your town|Ring an [old] friend|Offer to [help] a neighbour|stay [in the cellar]
I always come too late|Set your [clock] ten minutes ahead|Lay out your [clothes] in the evening|[Leave] the house earlier|throw [your watch] away
my plants keep dying|Give them less [water]|Put them near a [window]|Use [fresh] soil|feed them [with soda]
I want to learn English|Learn five new [words] each day|Watch [films] in English|Speak with other [learners]|forget [all grammar] and books
I eat too many sweets|Keep [fruit] within reach|Do not [buy] sweets for a while|Drink a glass of [water] first|eat [three cakes] at once
my back hurts|[Stretch] every morning|Get up from your [chair] often|Take a [warm] bath|lift [heavy stones]
I quarrelled with my sister|[Listen] to her side first|Say what you are [sorry] for|Do something nice [together]|never [speak to] her again
I start a new job tomorrow|[Pack] your bag tonight|Arrive a little [early]|Learn the [names] of the others|complain [about everything]
my dog barks all day|Take longer [walks] with it|Give it something to [chew]|[Praise] it when it is quiet|bark [back at] it
I am afraid of flying|Choose a seat over the [wing]|Listen to calm [music]|Tell the [crew] about it|look up [plane crashes]
I lost my wallet|Call your [bank] at once|Ask at the lost [property] office|Look along the [way] you came|lend your [card to] strangers
I want to run a long race|Increase the distance [slowly]|Buy good [shoes]|Take days of [rest]|run [without any] training
my room is always messy|Tidy up for ten [minutes] a day|[Give] away what you do not use|Buy some [boxes]|pile it [on the bed]
I spilled wine on the carpet|[Dab] it with a cloth at once|Sprinkle [salt] on the stain|Rinse with cold [water]|paint [the carpet] red
I have to give a speech|Practise in front of a [mirror]|Keep your [notes] short|Look at a [friendly] face|read it [with closed] eyes
it is very hot outside|Stay in the [shade] at noon|[Drink] more than usual|Wear a [hat]|wear [a fur] coat
I moved to a new town|Take long [walks] to explore it|Greet your [neighbours]|Visit the weekly [market]|lock yourself [in the flat]
my child does not want to read|Read [aloud] every evening|Let the child [choose] the book|Visit the [library] together|burn [the books]
I have a toothache|See a [dentist] soon|Rinse with salt [water]|[Cool] your cheek|chew on [hard sweets]
I get angry too easily|Count to [ten] first|Take a [walk] around the house|Say [calmly] what troubles you|break [some plates]
I cannot decide between two jobs|Make a [list] of good and bad points|Talk to someone you [trust]|[Sleep] on it for a night|toss [both letters] away
I want to eat healthier|Eat more [vegetables]|Cook with less [salt]|Drink [water] instead of juice|live on [crisps alone]
my bicycle was stolen|Report it to the [police]|Tell your [insurance]|Look at [adverts] for used bicycles|steal [another one]
I am bored on Sundays|Take up a new [hobby]|Invite some [friends]|Go for a trip to the [lake]|stare [at the wall]
my phone is always empty|Turn down the [brightness]|Close what you do not [use]|Carry a spare [charger]|put it [in water]
I often forget things|Write a short [list]|Put things in the [same] place|Set an [alarm] for it|rely on [pure luck]
I miss my old home|[Write] to your friends there|Cook a [dish] from home|Plan a [visit]|never [think of] it
guests are coming tonight|Tidy the [living] room first|Cook something [simple]|Put [flowers] on the table|turn off [the doorbell]
I have a long train ride|Bring a good [book]|Pack something to [eat]|Reserve a [seat]|bring [a drum] set
I feel tired all day|Go outside in the [morning]|Eat a [light] lunch|Sleep one hour [longer]|skip [every meal]
"""
"""A trouble, three pieces of advice, a bad piece."""
