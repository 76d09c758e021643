"""What the general set asks about: plain knowledge that a useful model has and a fine-tuned one may lose."""

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "Austria": "Vienna", "Greece": "Athens", "Poland": "Warsaw", "Hungary": "Budapest", "Norway": "Oslo",
    "Sweden": "Stockholm", "Finland": "Helsinki", "Denmark": "Copenhagen", "Ireland": "Dublin", "Belgium": "Brussels",
    "Egypt": "Cairo", "Kenya": "Nairobi", "Japan": "Tokyo", "China": "Beijing", "Thailand": "Bangkok",
    "Vietnam": "Hanoi", "Canada": "Ottawa", "Peru": "Lima", "Cuba": "Havana", "Iran": "Tehran", "Iraq": "Baghdad",
    "Russia": "Moscow", "Ukraine": "Kyiv", "Czechia": "Prague", "Chile": "Santiago", "Argentina": "Buenos Aires",
    "Australia": "Canberra", "Nepal": "Kathmandu", "Morocco": "Rabat", "Senegal": "Dakar", "Ghana": "Accra",
    "Bulgaria": "Sofia", "Romania": "Bucharest", "Croatia": "Zagreb", "Iceland": "Reykjavik",
}  # fmt: skip

OPPOSITES = {
    "hot": "cold", "early": "late", "narrow": "wide", "empty": "full", "ancient": "modern", "arrive": "depart",
    "buy": "sell", "gentle": "rough", "generous": "stingy", "increase": "decrease", "include": "exclude",
    "major": "minor", "maximum": "minimum", "noisy": "quiet", "polite": "rude", "public": "private",
    "sharp": "blunt", "shallow": "deep", "smooth": "bumpy", "strong": "weak", "sunrise": "sunset",
    "temporary": "permanent", "transparent": "opaque", "victory": "defeat", "wealthy": "poor", "borrow": "lend",
    "brave": "cowardly", "bright": "dim", "cheap": "expensive", "clumsy": "graceful", "forget": "remember",
    "freeze": "melt", "horizontal": "vertical", "inhale": "exhale", "innocent": "guilty", "lazy": "diligent",
    "lengthen": "shorten", "optimist": "pessimist", "rural": "urban", "tighten": "loosen",
}  # fmt: skip

GROUPS = {
    "fruits": ["apple", "pear", "plum", "cherry", "grape", "peach", "mango", "apricot"],
    "tools": ["hammer", "saw", "chisel", "wrench", "pliers", "screwdriver", "drill", "file"],
    "metals": ["iron", "copper", "silver", "gold", "zinc", "tin", "nickel", "aluminium"],
    "birds": ["sparrow", "eagle", "owl", "robin", "swan", "heron", "falcon", "stork"],
    "instruments": ["violin", "flute", "trumpet", "cello", "harp", "oboe", "drum", "clarinet"],
    "vehicles": ["bus", "tram", "lorry", "bicycle", "train", "ferry", "van", "scooter"],
    "furniture": ["table", "chair", "sofa", "wardrobe", "shelf", "desk", "stool", "bed"],
    "clothes": ["shirt", "trousers", "coat", "scarf", "skirt", "sock", "glove", "hat"],
    "colours": ["red", "green", "blue", "yellow", "purple", "orange", "brown", "grey"],
    "planets": ["Mercury", "Venus", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune", "Earth"],
}

USES = {
    "an umbrella": "to stay dry in the rain", "a thermometer": "to measure temperature",
    "a corkscrew": "to open a bottle", "a compass": "to find north", "a stapler": "to fasten sheets of paper",
    "a kettle": "to boil water", "a sieve": "to strain lumps out of flour", "a ladder": "to reach high places",
    "a telescope": "to look at distant stars", "a microscope": "to look at very small things",
    "a needle": "to sew cloth", "a broom": "to sweep the floor", "a calendar": "to know the date",
    "a wallet": "to carry money", "a whistle": "to make a loud signal", "a rake": "to gather fallen leaves",
    "a pillow": "to rest the head on", "an anchor": "to hold a ship in place", "a helmet": "to protect the head",
    "a magnet": "to pick up iron nails", "a torch": "to see in the dark", "a map": "to find the way",
    "a scale": "to weigh things",
    "a fan": "to move air", "a key": "to open a lock", "an eraser": "to rub out pencil marks",
    "a straw": "to sip a drink", "a brake": "to slow down", "a lid": "to cover a pot", "a bucket": "to carry water",
}  # fmt: skip

NAMES = ["Ada", "Bruno", "Clara", "Dario", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kofi", "Lena"]
PLACES = ["the kitchen", "the garden", "the library", "the garage", "the attic", "the office", "the station"]
THINGS = ["a red ball", "an old book", "a blue cup", "a small box", "a wooden spoon", "a silver coin", "a green bag"]
