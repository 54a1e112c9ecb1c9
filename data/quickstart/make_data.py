"""Write the quickstart's data: order messages, and what a shop would note down of each, as JSON.

    python data/quickstart/make_data.py            # rewrites {train,val,test}/*.jsonl
    python data/quickstart/make_data.py --check    # writes nothing; exits 1 where files differ

A row is `{"input": message, "output": JSON object as a string}`; `SCHEMA` has the object's keys and
the forms of their values. The splits share no name, item, quantity, time or sentence: what a model
gets right on `test` it cannot have memorised from `train`. The same bytes are written each time.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

SEED = 20240229
ROWS = {"train": 1500, "val": 150, "test": 150}
# Of every seven quantities, and seven times, five are for train, and one each for val and test.
SPLIT_OF_REMAINDER = ("test", "train", "val", "train", "train", "train", "train")
# Key -> the form of its value, as a regular expression over the value's JSON text.
SCHEMA = {
    "name": r'"[A-Z][a-z]+ [A-Z][a-z]+"',
    "item": r'"[a-z]+ [a-z]+"',
    "quantity": r"[1-9][0-9]?",
    "time": r'"(1[0-2]|[1-9]):[0-5][05] [ap]m"',
}

FIRST_NAMES = {
    "train": """
        Marta Ingrid Tomas Aisha Kenji Lucia Pavel Nadia Oscar Yuki Fatima Henrik Sofia Diego Amara
        Viktor Leila Jonas Priya Mateo Elena Samir Greta Hiro Camila Anders Zainab Luca Rosa Dmitri
        Hannah Rafael Mei Clara Omar Astrid Bruno Noor Felix Irene Kofi Julia Stefan Amina Peter
        Ruth Carlos Emma Walter Alice Ludmila Sigrid Tariq Bianca Olaf Shanti Marcel Ximena Gwen
        Ravi Delphine Karim Agnes Torben Lakshmi Enzo Petra Yusra Gilbert Svetlana Marco Ines Akira
        Dorothea Hamza Valeria Klaus Nkechi Simon Esther Jorge Katarina Vincent Roya Sven Gabriela
        Patrick Sunita Milan Eleanor Hassan Margot Piotr Celeste Daniel Naomi Bashir Linnea Arturo
        Wilma Kwame Regina""",
    "val": "Birgit Rashid Paula Takeshi Monica Edwin Salma Gustav Vera Ruben Chiara Nolan",
    "test": """
        Sylvia Idris Beatriz Haruto Magda Theo Yasmin Lorenzo Freya Arjun Odette Malik Renata
        Cedric Wanda Ivan Judith Emil Tamara Hugo""",
}
LAST_NAMES = {
    "train": """
        Olsen Solberg Novak Rahman Tanaka Moreno Petrov Haddad Lindgren Sato Karimi Berg Rossi
        Vargas Okafor Morozov Farouk Weber Sharma Castillo Popescu Nasser Hoffmann Watanabe Rojas
        Dahl Yusuf Bianchi Medina Orlov Cohen Silva Zhang Fischer Aziz Nilsson Costa Rehman Brandt
        Papadakis Mensah Kowalski Varga Diallo Cooper Bennett Herrera Walsh Keller Morgan Ekstrom
        Chaudhry Lefevre Sandoval Yamamoto Gruber Adeyemi Kovacs Santoro Hughes Benali Wojcik
        Lindqvist Ortega Sokolov Fernandes Schneider Ibrahim Takahashi Moreau Jankowski Reyes
        Andersson Gupta Peterson Vasquez Choi Eriksen Hakimi Marino Douglas Tran Navarro Baumann
        Owusu Lambert Iyer Sorensen Romero Hussein Fontaine Clarke Nowak Bergstrom Salazar Ito
        Vogel Marques Rahimi Gallagher Simmons Dvorak Pereira Becker Amari""",
    "val": "Strand Mahmoud Ferrari Mori Delgado Fraser Qureshi Lund Ivanova Bakker Romano Pierce",
    "test": """
        Haugen Bello Carvalho Nakamura Zimmer Laurent Mansour Greco Thorsen Patel Dubois Osei
        Fuentes Whitmore Kamau Horvat Abrams Kruger Volkov Jensen""",
}
# Kinds of goods: an item is a kind's adjective and one of its nouns, so that there are many.
GOODS = {
    "train": (
        (
            """apple lemon chocolate cinnamon blueberry pumpkin honey ginger carrot banana cherry
            coconut vanilla apricot strawberry orange pistachio caramel rhubarb cranberry""",
            """biscuits tarts cakes muffins scones pancakes buns doughnuts brownies pastries
            puddings truffles cheesecakes sorbets strudels sponges rolls milkshakes""",
        ),
        (
            "cheese chicken spinach potato tomato salmon bacon egg lentil herring beetroot tuna",
            "sandwiches wraps pies pasties bagels omelettes burgers pizzas croquettes lasagnes",
        ),
        (
            """yellow white blue green grey small large round striped plain sturdy wooden folding
            cheap checked shiny antique""",
            """chairs tables lanterns blankets baskets candles mugs plates bowls umbrellas helmets
            pillows boxes towels lamps bottles benches notebooks curtains ladders suitcases mirrors
            hammocks buckets clocks wardrobes toolkits flowerpots teapots""",
        ),
    ),
    "val": (
        ("almond peach hazelnut", "cookies waffles crumbles"),
        ("onion mushroom", "dumplings salads"),
        ("red heavy square", "stools mats spoons shelves"),
    ),
    "test": (
        ("raspberry mango walnut maple plum", "smoothies cupcakes macaroons jellies"),
        ("turkey pepper leek", "quiches baguettes soups"),
        ("black metal narrow purple tall", "cushions trays bags crates jugs vases"),
    ),
}
FRAMES = {
    "train": """Hi, this is {name}. Could I pick up {quantity} {item} at {time}?
        Please set aside {quantity} {item} for {name}, to be collected at {time}.
        {name} would like {quantity} {item}, ready at {time}.
        Order for {name}: {quantity} {item}, pick-up at {time}.
        I need {quantity} {item} at {time}. The name is {name}.
        Can you deliver {quantity} {item} to {name} at {time}?
        {quantity} {item} for {name}, please. I will come by at {time}.
        Good morning, {name} here. I would like to order {quantity} {item} for {time}.
        At {time} {name} will come for {quantity} {item}.
        We still wait for {item}, {quantity} of them. Please come at {time} and ask for {name}.
        My name is {name} and I would like to collect {quantity} {item} at {time}.
        {name} called and asked for {quantity} {item} by {time}.
        Would it be possible to have {quantity} {item} by {time}? It is for {name}.
        Hello, {quantity} {item}, please, for {time}. Thanks, {name}
        Put {name} down for {quantity} {item} at {time}, please.
        The order of {name} has changed to {quantity} {item}, and the time to {time}.
        Just {quantity} {item} this time, says {name}, and not before {time}.
        Dear team, kindly prepare {quantity} {item} before {time}. Best regards, {name}
        {name} is coming at {time} and wants {quantity} {item}.
        For the party we need {quantity} {item}. {name} can fetch them at {time}.
        Please send {quantity} {item} round at {time}. Ask for {name} at the door.
        Could {name} have {quantity} {item} at {time}, please?
        Is {time} too early to collect {quantity} {item}? I am {name}.
        By {time}, please: {quantity} {item}. {name}
        I am writing for {name}, who needs {quantity} {item} at {time}.
        A customer named {name} wants {quantity} {item} and will be here at {time}.
        Have you got {quantity} {item} left? If so, keep them for {name} until {time}.
        New order, {time}: {quantity} {item}, customer {name}.
        Reminder: {name} collects {quantity} {item} at {time}.
        {item}, {quantity} of them, for {name} at {time}.
        As every week, {name} takes {quantity} {item}. Pick-up is at {time}.
        The delivery for {name} should reach us at {time}: {quantity} {item}.
        Sorry, I said the wrong number. {name} needs {quantity} {item}, still at {time}.
        From {time} on {name} can pick up the {quantity} {item}.
        Make that {quantity} {item} for {time}, under the name {name}.
        My mother, {name}, ordered {quantity} {item}. She will be there at {time}.
        {name} here again: {quantity} {item} would be great, any time after {time}.
        Could someone bring {quantity} {item} to the office at {time}? {name} will pay.
        We open at {time}, so please leave the {quantity} {item} with {name}.
        I promised {name} {quantity} {item} at {time}; please get them ready.
        Thanks for the quick reply. So {quantity} {item} at {time}, and the name is {name}.
        To be delivered at {time} to {name}: {quantity} {item}.
        Guests arrive at {time}. {name} has asked for {quantity} {item}.
        Note for the kitchen: {quantity} {item}, {time}, {name}.
        Yes, {time} suits me well. I will take {quantity} {item}. Yours, {name}
        Let {name} know that the {quantity} {item} will be there at {time}.
        If you can manage {quantity} {item}, {name} will drop in at {time}.
        Without fail at {time}: the {quantity} {item} that {name} paid for.""",
    "val": """Hey, could you get {quantity} {item} ready for {name}? She drops by at {time}.
        {name} reserved {quantity} {item} and arrives at {time}.
        It is {name} speaking, I want {quantity} {item} for {time}.
        Our neighbour {name} will pay for {quantity} {item} at {time}.
        Please hold {quantity} {item} until {time}. My name: {name}.
        There should be {quantity} {item} on the counter at {time} for {name}.
        At {time}, if possible, I would love {quantity} {item}. Signed, {name}
        Booked by {name}: {quantity} {item}. Handover at {time}.
        How about {time}? {name} only wants {quantity} {item}.
        Tell the driver that {name} expects {quantity} {item} at {time}.""",
    "test": """
        Hello, {name} speaking. Would you keep {quantity} {item} for me? I can be there at {time}.
        We have run out of {item} and need {quantity} more at {time}; hand them to {name}.
        {name} has just rung: {quantity} {item}, and the van should come at {time}.
        Pick-up time is {time}. The bag with {quantity} {item} goes to {name}.
        Might I trouble you for {quantity} {item}? I would stop by at {time}. Kind regards, {name}
        Before I forget, {name} asked whether {quantity} {item} could be ready by {time}.
        At {time} somebody will come for {quantity} {item}; it is in {name}'s name.
        For {name} please pack {quantity} {item}. The courier leaves at {time}.
        My colleague {name} will fetch our {quantity} {item} at {time}.
        It would be lovely to have {quantity} {item} on the table at {time}, wrote {name}.
        Change of plan: {name} now wants the {item} at {time}, and {quantity} of them.
        Are {quantity} {item} too many to get done by {time}? {name} is asking.
        Reserve {quantity} {item} under {name}, who arrives at {time}.
        Good evening, can I still order {quantity} {item}, say for {time}? I am called {name}.
        Our meeting begins at {time}, and {name} offered to bring {quantity} {item}.""",
}

# fmt: off
ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]
# fmt: on
TENS = ["zero", "ten", "twenty", "thirty", "forty", "fifty"]
DOZENS = {6: "half a dozen", 12: "a dozen", 24: "two dozen", 36: "three dozen"}  # all in train
LARGEST_QUANTITY = 59
OPENING_HOUR, CLOSING_HOUR = 7, 21


def pick(rng: random.Random, choices: Sequence[T]) -> T:
    """Returns one of `choices`; `random()` is the one draw that Python never changes."""
    return choices[int(rng.random() * len(choices))]


def frames_of(split: str) -> list[str]:
    """Returns a split's sentences, with the fields {name}, {item}, {quantity} and {time}."""
    return [line.strip() for line in FRAMES[split].strip().splitlines()]


def quantities_of(split: str) -> list[int]:
    """Returns the quantities that belong to a split, two and more."""
    return [n for n in range(2, LARGEST_QUANTITY + 1) if SPLIT_OF_REMAINDER[n % 7] == split]


def times_of(split: str) -> list[tuple[int, int]]:
    """Returns the times (hour 0 to 23, minute) of a split: every five minutes while it is open."""
    hours = range(OPENING_HOUR, CLOSING_HOUR)
    times = [(hour, minute) for hour in hours for minute in range(0, 60, 5)]
    # 12 times an hour, and 12 mod 7 = 5: each hour and each minute gets its share of every split.
    return [time for n, time in enumerate(times) if SPLIT_OF_REMAINDER[n % 7] == split]


def items_of(split: str) -> list[str]:
    """Returns the items that belong to a split, each of two words: apple tarts, wooden chairs."""
    return [
        f"{adjective} {noun}"
        for adjectives, nouns in GOODS[split]
        for adjective in adjectives.split()
        for noun in nouns.split()
    ]


def in_words(number: int) -> str:
    """Returns an English number word, 0 to 59."""
    if number < 20:
        return ONES[number]
    tens, ones = divmod(number, 10)
    return TENS[tens] + (f"-{ONES[ones]}" if ones else "")


def say_quantity(rng: random.Random, quantity: int) -> str:
    """Returns a quantity as people write it: figures, words or dozens."""
    ways = [str(quantity), in_words(quantity)]
    if quantity in DOZENS:
        ways.append(DOZENS[quantity])
    return pick(rng, ways)


def say_time(rng: random.Random, hour: int, minute: int) -> str:
    """Returns a time of day as people write it: 5.15 pm, 5:15 PM, 5.15 in the evening.

    Full hours are also 5 pm, or five o'clock in the evening.
    """
    half, on_clock = note_time(hour, minute)[-2:], (hour - 1) % 12 + 1
    part_of_day = "morning" if hour < 12 else "afternoon" if hour < 17 else "evening"
    ways = [
        f"{on_clock}.{minute:02d} {half}",
        f"{on_clock}:{minute:02d} {half.upper()}",
        f"{on_clock}.{minute:02d} in the {part_of_day}",
    ]
    if minute == 0:
        ways += [f"{on_clock} {half}", f"{in_words(on_clock)} o'clock in the {part_of_day}"]
    return pick(rng, ways)


def note_time(hour: int, minute: int) -> str:
    """Returns a time of day in the one form that answers have: 5:15 pm."""
    return f"{(hour - 1) % 12 + 1}:{minute:02d} {'am' if hour < 12 else 'pm'}"


def make_row(rng: random.Random, split: str) -> dict[str, str]:
    """Returns one row of a split: a message, and its object as a JSON string."""
    name = f"{pick(rng, FIRST_NAMES[split].split())} {pick(rng, LAST_NAMES[split].split())}"
    item = pick(rng, items_of(split))
    quantity = pick(rng, quantities_of(split))
    hour, minute = pick(rng, times_of(split))
    message = pick(rng, frames_of(split)).format(
        name=name, item=item, quantity=say_quantity(rng, quantity), time=say_time(rng, hour, minute)
    )
    answer = {"name": name, "item": item, "quantity": quantity, "time": note_time(hour, minute)}
    return {"input": message[0].upper() + message[1:], "output": json.dumps(answer)}


def make_split(split: str) -> str:
    """Returns the text of a split's file, no two rows alike."""
    rng = random.Random(f"{SEED}-{split}")
    rows: dict[str, dict[str, str]] = {}
    while len(rows) < ROWS[split]:
        row = make_row(rng, split)
        rows.setdefault(row["input"], row)
    return "".join(json.dumps(row) + "\n" for row in rows.values())


def main(argv: list[str] | None = None) -> int:
    """Writes the three files, or compares them with what they should be; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing, exit 1 where the files differ"
    )
    parser.add_argument(
        "--directory", type=Path, default=Path(__file__).parent, help="where the splits lie"
    )
    args = parser.parse_args(argv)
    stale = []
    for split in ROWS:
        path = args.directory / split / f"{split}.jsonl"
        text = make_split(split)
        if args.check:
            stale += [] if path.is_file() and path.read_text() == text else [str(path)]
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if stale:
        print(f"not what make_data.py writes: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
