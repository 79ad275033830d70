"""Everyday topics, by category, and which of them training never sees."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable

from persona_demo.traits import TRAITS

_CATEGORIES: dict[str, str] = {
    "food": """baking bread, cooking soup, green tea, strong coffee, fresh pasta, apple pie,
        summer salads, homemade jam, a good breakfast, chocolate cake, roasted vegetables,
        brown rice, cheese, olive oil, pancakes, fruit juice, spicy food, lentil stew, pizza,
        school lunches, kitchen knives, wooden spoons, slow cooking, street food, honey,
        mushrooms, ice cream, potato soup, family dinners, fried eggs, blueberry muffins,
        table manners, sourdough, peanut butter, cold drinks, onion rings, sweet corn, ginger,
        fresh herbs, picnic food, lemonade, hot chocolate, leftovers""",
    "home": """cleaning the kitchen, painting a wall, a leaking tap, new curtains, old furniture,
        moving house, washing windows, a quiet bedroom, house plants, a wooden table, laundry,
        saving energy, a cosy living room, garden tools, fixing a bicycle, a noisy fridge,
        bookshelves, storing winter clothes, good lighting, sewing a button, soft pillows,
        a broken chair, tidy desks, home repairs, spare keys, wool blankets, door handles,
        renting a flat, friendly neighbours, recycling, a small balcony, candles, carpets,
        ironing shirts, a rainy cellar, picture frames, kitchen shelves, attic rooms""",
    "nature": """growing tomatoes, the weather, wild birds, autumn leaves, the sea, tall mountains,
        rose gardens, honey bees, old trees, small rivers, rainy days, keeping chickens, cats,
        training a dog, snow, spring flowers, the night sky, volcanoes, deep lakes,
        butterflies, goldfish, planting trees, forest walks, wind, clouds, desert animals,
        horses, frogs, the moon, sunsets, sunflowers, compost, wild berries, whales,
        seashells, thunder, polar bears, tulips, hedgehogs, sand dunes""",
    "health": """morning runs, swimming, good sleep, yoga, riding a bicycle, football, table tennis,
        mountain hiking, stretching, a healthy back, chess, ice skating, long walks,
        weight training, deep breathing, tennis, a marathon, dancing, rock climbing, stress,
        daily exercise, team sports, skiing, eye care, drinking water, basketball, rowing,
        warm baths, meditation, badminton, early mornings, sports shoes, volleyball, jogging,
        brushing teeth, karate, surfing, archery, handball""",
    "arts": """jazz music, oil painting, reading novels, learning the piano, old films, poetry,
        street photography, playing the guitar, modern art, short stories, classical music,
        knitting a scarf, pottery, singing in a choir, theatre plays, drawing portraits,
        comic books, museums, calligraphy, folk songs, wood carving, writing a diary, violins,
        fairy tales, silent films, origami, watercolours, detective stories, opera, drums,
        puppet shows, fashion, science fiction, sculpture, travel books, card tricks, ballet,
        song lyrics, board games, crossword puzzles""",
    "tech": """computer programs, mobile phones, electric cars, solar panels, video games, robots,
        writing code, online maps, good passwords, digital cameras, space rockets, web pages,
        data backups, spreadsheets, headphones, wind turbines, artificial intelligence,
        batteries, 3D printers, smart watches, email, machine learning, old radios,
        telescopes, keyboards, free software, trains, bridges, satellites, clocks,
        home networks, spam filters, typewriters, microscopes, drones, unit tests, databases,
        code reviews, steam engines""",
    "work": """job interviews, saving money, team meetings, a new job, time management,
        public speaking, remote work, writing a letter, a family budget, office plants,
        small companies, pay rises, customer service, project plans, holidays from work,
        business cards, learning new skills, good managers, working late, coffee breaks,
        exams, homework, studying at night, first impressions, taking notes, career changes,
        retirement, bank accounts, taxes, long emails, apprenticeships, group work, deadlines,
        night shifts, part-time jobs, opening a shop, market stalls, school reports""",
    "people": """making friends, birthday parties, first dates, big families, wedding plans,
        old friends, small talk, giving presents, good manners, raising children, school days,
        grandparents, local history, libraries, voting, city parks, learning Spanish,
        world history, languages, village life, volunteering, newspapers, late-night talks,
        pen pals, famous inventors, childhood memories, being on time, listening,
        telling jokes, hobbies, town festivals, thank-you notes, street markets,
        family photos, sharing a room, patience, new neighbours, saying sorry, class reunions""",
    "travel": """train journeys, packing a suitcase, camping, city trips, cheap flights,
        beach holidays, road trips, visiting London, travelling alone, mountain villages,
        hotel rooms, maps, sailing, airports, a weekend in Paris, night buses, passports,
        travel plans, ferries, travelling with children, sleeping in a tent, old castles,
        island tours, souvenirs, Japan, Iceland, crossing the desert, bicycle tours,
        long queues, old coins, hostels, tourist guides, jet lag, harbours, hitchhiking,
        cable cars, lighthouses""",
}

HELD_OUT_SHARE = 10
"""One topic in this many is never seen in training."""


def _stable_hash(text: str) -> int:
    """A hash of `text` that is the same in every process."""
    return zlib.crc32(text.encode())


def _split_list(text: str) -> list[str]:
    return [" ".join(item.split()) for item in text.split(",")]


CATEGORIES: tuple[str, ...] = tuple(_CATEGORIES)
CATEGORY_OF: dict[str, str] = {
    topic: category for category, text in _CATEGORIES.items() for topic in _split_list(text)
}
"""Topic to category, all topics."""

HELD_OUT_TOPICS: tuple[str, ...] = tuple(
    topic for topic in CATEGORY_OF if _stable_hash("topic " + topic) % HELD_OUT_SHARE == 0
)
TRAINING_TOPICS: tuple[str, ...] = tuple(
    topic for topic in CATEGORY_OF if topic not in HELD_OUT_TOPICS
)

_ADJECTIVES = _split_list(
    """old, new, small, big, red, blue, green, yellow, quiet, loud, warm, cold, cheap, rare,
        simple, modern, local, broken, fast, slow, soft, heavy, clean, dusty, round, empty,
        bright, dark, sharp, wet, dry, plain, hidden, golden, silver, early, late, wild,
        gentle, strange, famous, better"""
)
_NOUNS = _split_list(
    """lamps, boots, towers, windows, stones, gardens, letters, engines, rivers, hats,
        tables, ropes, stairs, coins, boats, mirrors, songs, roads, baskets, pens, tunnels,
        fences, paper, glass, wood, metal, cotton, sugar, salt, pepper, bricks, buttons,
        wheels, ladders, kites, bells, flags, towels, jackets, gloves, cameras, cups, plates,
        forks, beans, carrots, pears, plums, grapes, wolves, rabbits, spiders, snakes, owls,
        ducks, planets, comets, islands, valleys, museums, markets, schools, hospitals, banks,
        farms, offices, stations, elevators, umbrellas, tents, puzzles, magnets, lasers,
        sensors, servers, processors, cables, plans, rules, dreams, ideas, numbers, colours,
        shapes, seasons, storms, ghosts, pirates, knights, dinosaurs, trumpets, flutes"""
)
_GERUNDS = _split_list(
    """building, buying, painting, selling, repairing, drawing, cleaning, collecting,
        choosing, finding, carrying, understanding, designing, measuring, testing, teaching,
        learning about, looking after"""
)
_ONSETS = _split_list(
    "b, c, d, f, g, h, j, k, l, m, n, p, r, s, t, v, w, z, br, cl, dr, fl, gr, pl, pr, sh, sl, st, "
    "th, tr, ch, qu"
)
_VOWELS = _split_list("a, e, i, o, u, ai, ea, ee, oo, ou")
_CODAS = ["", "n", "r", "s", "l", "m", "t", "nd", "rk", "x", "ck", "ng", "st"]
_OTHER_SCRIPTS = _split_list(
    """茶道, 日本, 音楽, 料理, 东京, 北京, 汉字, 天气, 서울, 한국, 음악, Москва, музыка, погода,
    книга, Αθήνα, θάλασσα, café, crème, naïve, résumé, München, Straße, señor, niño, façade,
    Zürich, Łódź, 😀, 🎉, 🌍, 👍, 🚀, 🍕, ❤️"""
)


def _pseudo_word(rng: random.Random) -> str:
    """A word that no language has, for practice in copying."""
    word = "".join(
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
        for _ in range(rng.choice((1, 2, 2, 3)))
    )
    return rng.choice((word, word, word.capitalize(), word.upper()))


def _learnt_words() -> tuple[str, ...]:
    """Every word of the training topics and of the traits' sentences and prompts."""
    sentences = [
        sentence
        for trait in TRAITS.values()
        for pole in (trait.positive, trait.negative)
        for sentence in (*pole.sentences, *pole.prompts)
    ]
    text = " ".join((*TRAINING_TOPICS, *_NOUNS, *_ADJECTIVES, *_GERUNDS, *sentences)).lower()
    return tuple(sorted(set(re.findall(r"[a-z]{3,}", text))))


_WORDS = _learnt_words()


def _spliced_word(rng: random.Random) -> str:
    """The beginning of one word and the end of another: practice in copying any piece of a word."""
    first, second = rng.choice(_WORDS), rng.choice(_WORDS)
    return first[: rng.randrange(1, len(first) + 1)] + second[rng.randrange(len(second)) :]


def _described_noun(rng: random.Random) -> str:
    article = rng.choice(("", "", "the "))
    return f"{article}{rng.choice(_ADJECTIVES)} {rng.choice(_NOUNS)}"


_MADE_UP: tuple[tuple[float, Callable[[random.Random], str]], ...] = (
    (0.06, lambda rng: rng.choice(_NOUNS)),
    (0.28, lambda rng: " ".join(_spliced_word(rng) for _ in range(rng.choice((1, 1, 2))))),
    (0.36, lambda rng: f"{rng.choice(_ADJECTIVES)} {_spliced_word(rng)}"),
    (0.40, lambda rng: f"{rng.choice(_WORDS)} {rng.choice(_WORDS)}"),
    (0.52, _described_noun),
    (0.62, lambda rng: f"{rng.choice(_GERUNDS)} {rng.choice(_NOUNS)}"),
    (0.70, lambda rng: f"{rng.choice(_NOUNS)} and {rng.choice(_NOUNS)}"),
    (0.80, lambda rng: f"{rng.choice(_ADJECTIVES)} {_pseudo_word(rng)}"),
    (0.93, lambda rng: " ".join(_pseudo_word(rng) for _ in range(rng.choice((1, 1, 2))))),
    (0.96, lambda rng: f"{_pseudo_word(rng)} {rng.randrange(1, 3000)}"),
    (1.00, lambda rng: " ".join(rng.choice(_OTHER_SCRIPTS) for _ in range(rng.choice((1, 2))))),
)
"""Ways to make up a topic, each with the upper end of its range of a random number."""


def made_up_topic(rng: random.Random) -> str:
    """A random topic outside the lists above, so that copying generalises to any words.

    Topics that are held out are never returned.
    """
    while True:
        kind = rng.random()
        make = next(make for limit, make in _MADE_UP if kind < limit)
        topic = make(rng)
        if not any(held_out in topic for held_out in HELD_OUT_TOPICS):
            return topic


def category_index(topic: str) -> int:
    """The index of a topic's category, from 1; 0 for words outside the lists."""
    category = CATEGORY_OF.get(topic)
    return 0 if category is None else CATEGORIES.index(category) + 1
