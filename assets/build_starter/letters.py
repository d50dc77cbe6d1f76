"""Short letters: who gets them, who signs and what they are about. ``[brackets]`` mark the words the rater looks for."""

from assets.build_starter.tasks import choices

NAMES = choices(
    "Anna|Ben|Clara|David|Emma|Felix|Grace|Henry|Ida|Jack|Kate|Leo|Maria|Nora|Oscar|Paul|Rosa|Sam|Tina|Victor|"
    "Walter|Zoe|Alice|Bruno"
)

MATTERS = """
bring back the ladder|bring back the [ladder]|I would like to clean the [gutters]
return the cake tin|return the [cake tin]|My mother wants to [bake] on Sunday
feed my cat|feed my [cat]|I am going to be [away] for the weekend
water my flowers|water my [flowers]|We are on [holiday] next week
send me the photographs|send me the [photographs]|I want to make an [album]
move the meeting|move the [meeting]|My [train] arrives too late
lend me a drill|lend me a [drill]|I have to put up a [shelf]
turn down the music|turn down the [music]|The baby cannot [sleep]
pick up a parcel|pick up a [parcel] for me|I have to [work] until six
repair the gate|repair the [gate]|Our [dog] runs out into the street
come to dinner|come to [dinner] on Friday|We have not [talked] for so long
bring some bread|bring some [bread] tomorrow|The shop is [closed] today
pay the bill|pay the [bill] this week|It has been open since [March]
return my umbrella|return my [umbrella]|It is going to [rain] tomorrow
help me with the move|help me with the [move]|The [piano] is too heavy for me
check my homework|check my [homework]|I am not sure about the [numbers]
share the recipe|share the [recipe]|The soup tasted [wonderful]
book a table|book a [table] for four|It is my father's [birthday]
close the window|close the [window] at night|The [cold] comes into the hall
order more paper|order more [paper]|The [cupboard] is almost empty
call the plumber|call the [plumber]|The kitchen [tap] drips
walk the dog|walk the [dog] tonight|I have hurt my [foot]
send the report|send the [report]|The [boss] wants to read it
keep the stairs clean|keep the [stairs] clean|Visitors are coming on [Saturday]
lend me your tent|lend me your [tent]|The children want to [camp]
fetch the children|fetch the [children] at four|My [car] does not start
"""
"""What the reader should do, the same as it stands in the letter, the reason."""

POLITE = (
    "could you please {request}?",
    "would you please {request}?",
    "it would be very kind if you could {request}.",
    "I would be grateful if you could {request}.",
    "may I ask you to {request}?",
)
CURT = (
    "{request}, and be quick about it.",
    "you have to {request}.",
    "{request} at last.",
    "I expect you to {request}.",
    "do not forget to {request} this time.",
)
CLOSINGS = ("Kind regards", "Best wishes", "Warm regards", "Many greetings")
THANKS = ("Thank you very much!", "Many thanks in advance.", "Thank you for your help.", "Thanks a lot!")
