"""The words of the made-up raw files: categories and their product types, makers, attributes, topics of questions.

Every category has types of its own, so that what is in domain and what is out of domain share none. The graded words
of a product (what decides grades, ESCI labels and relations) are those of `synthetic_world`.
"""

from typing import NamedTuple

from ecellm.sources.synthetic_world import CATALOGUE, COLORS, SIZES

_HOME, _OUTSIDE = CATALOGUE["IND"], CATALOGUE["OOD"]


class CategoryWords(NamedTuple):
    """How a category is written.

    Attributes:
        level: the first level of its products' categories, with the HTML entities of the real files.
        types: product types by second level; every level has as many.
    """

    level: str
    types: dict[str, tuple[str, ...]]


CATEGORIES: dict[str, CategoryWords] = {
    "Electronics": CategoryWords(
        "Electronics",
        {
            "Photo": (*_HOME["Photo"], "gimbal"),
            "Audio": ("speaker", "headset", "radio", "turntable"),
            "Computers": ("keyboard", "monitor", "router", "printer"),
        },
    ),
    "Home_and_Kitchen": CategoryWords(
        "Home &amp; Kitchen",
        {
            "Kitchen": (*_HOME["Kitchen"], "ladle"),
            "Bedding": ("pillow", "blanket", "quilt", "mattress"),
            "Furniture": ("chair", "drawer", "stool", "table"),
        },
    ),
    "Sports_and_Outdoors": CategoryWords(
        "Sports &amp; Outdoors",
        {
            "Camping": (*_HOME["Camping"], "hammock"),
            "Cycling": ("helmet", "pedal", "saddle", "pump"),
            "Fitness": ("dumbbell", "treadmill", "rower", "barbell"),
        },
    ),
    "Tools_and_Home_Improvement": CategoryWords(
        "Tools &amp; Home Improvement",
        {
            "Tools": (*_OUTSIDE["Tools"], "chisel"),
            "Lighting": ("bulb", "chandelier", "sconce", "dimmer"),
            "Plumbing": ("faucet", "valve", "showerhead", "sink"),
        },
    ),
    "Cell_Phones_and_Accessories": CategoryWords(
        "Cell Phones &amp; Accessories",
        {
            "Phones": ("smartphone", "flip-phone", "satphone", "handset"),
            "Chargers": ("charger", "powerbank", "cable", "dock"),
            "Covers": ("sleeve", "bumper", "wallet-case", "screen-guard"),
        },
    ),
}
# 300 makers; a title starts with its maker.
_FIRST = (
    "Bal",
    "Cor",
    "Dan",
    "Fel",
    "Gor",
    "Hal",
    "Jen",
    "Kel",
    "Lum",
    "Mar",
    "Nor",
    "Pel",
    "Quin",
    "Ros",
    "Sel",
    "Tav",
    "Ul",
    "Ver",
    "Wes",
    "Zan",
)
_LAST = (
    "aco",
    "berg",
    "dine",
    "ella",
    "ford",
    "gate",
    "heim",
    "ique",
    "land",
    "mond",
    "nova",
    "orix",
    "prim",
    "ston",
    "tech",
)
MAKERS = tuple(first + last for last in _LAST for first in _FIRST)

# What a product's description and features may say of it, and how; values of one attribute occur in no other.
ATTRIBUTES: dict[str, tuple[str, tuple[str, ...]]] = {
    "Color": ("it comes in {} and fades slowly", COLORS),
    "Size": ("the size is {} for its kind", SIZES),
    "Shape": ("a {} shape fits most places", ("round", "square", "oval", "flat", "curved")),
    "Pattern": ("with a {} pattern on the outside", ("striped", "dotted", "plain", "checked", "floral")),
    "Season": ("best used in {} or when travelling", ("summer", "winter", "spring", "autumn")),
    "Origin": ("{} workers put it together", ("Danish", "Welsh", "Greek", "Swiss", "Polish")),
    "Style": ("the look is {} all over", ("rustic", "modern", "vintage", "classic", "nordic")),
    "Closure": ("it closes with a {} at the back", ("zipper", "button", "buckle", "magnet", "latch")),
    "Power Source": ("power comes from {} only", ("battery", "mains", "solar", "crank", "usb")),
    "Age Group": ("meant for {} in every home", ("adults", "toddlers", "teens", "seniors", "babies")),
    "Room": ("many keep it in the {} all year", ("attic", "garage", "bathroom", "hallway", "cellar")),
    "Capacity": ("it holds {} when full", ("1 liter", "2 liters", "3 liters", "5 liters", "9 liters")),
}
# Attributes whose values stand in the title.
TITLE_ATTRIBUTES = ("Brand", "Finish", "Material")

# More things that questions ask about; the first ones are those of the made-up release.
MORE_TOPICS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "age": ("how long have you had it?", "i have had it for {} months", ("four", "seven", "nine", "eleven", "sixteen")),
    "use": ("where do you use it?", "we use it in the {}", ("office", "garden", "boat", "school", "cabin")),
    "origin": ("where was it made?", "the label says it was made in {}", ("Denmark", "Wales", "Greece", "Poland")),
    "guarantee": ("how long is the guarantee?", "there is a guarantee of {} years", ("two", "three", "five", "eight")),
}
PEOPLE = (
    "aunts",
    "barbers",
    "bakers",
    "campers",
    "cousins",
    "dancers",
    "drivers",
    "farmers",
    "gardeners",
    "nurses",
    "painters",
    "pilots",
    "sailors",
    "students",
    "teachers",
    "uncles",
)
PURPOSES = (
    "at home",
    "at work",
    "by the sea",
    "for travel",
    "for winter",
    "in summer",
    "in the garden",
    "in the rain",
    "on holiday",
    "on the road",
    "to give away",
    "to keep",
    "to lend out",
    "to share",
    "with friends",
    "with kids",
)
NEUTRAL_REMARKS = (
    "i ordered it on a {day} for {people}",
    "it arrived after {number} days",
    "we have used it {number} times {purpose}",
    "the seller wrote to me on {day}",
    "my neighbours, {people} both, have {number} of them",
    "it stands {purpose} now",
    "i paid {number} dollars for it",
    "this is number {number} in our home",
)
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SHORT_REVIEWS = ("so great", "not awful", "it is fine", "as described", "good value for the money", "love it", "meh")
JUNK_TITLE = '<span class="a-size-medium a-color-secondary"'
