# SPDX-License-Identifier: Apache-2.0
"""The text that the tiny tokenizers are trained on: written for this project, plus counted lines."""

PARAGRAPHS = """
The river runs past the mill and under the old bridge, and in the evening the light comes back from the water onto the stones. A woman stands at the rail and counts the boats: one, two, three, and then the ferry, which is late again.
Look at the picture and listen to the clip, then answer in one word. What is in the picture? Who is speaking, and what does the speaker say? Describe the scene, the colours and the number of people in it.
A model reads a text as a row of tokens. Each token is a row of a table; the rows pass through many layers, and every layer looks back at the rows before it. The last row tells which token may come next. If two engines differ, one of them is wrong, and we want to know which layer was the first.
To measure is to compare with something that does not move. The reference is slow and plain; the other one is fast and has to agree with it, number by number. When it does not, print the name of the first value that is off, how far it is off, and where.
The kitchen was warm. Bread, butter, salt, two apples and a jar of honey stood on the table; the kettle sang; the cat slept on the chair by the window and would not move for anyone.
In the morning there was snow on the roofs of the town. The children went down the hill on trays and boards and came back with red hands and wet coats. "Again!" they said, and again they went.
How do I get to the station? Go straight on, take the second street on the left, then walk past the school and the post office. The train to the coast leaves at 10:45 from platform 3; the ticket costs 12.50.
for (int i = 0; i < n; i++) {\n    sum += a[i] * b[i];\n    if (sum > limit) return -1;\n}\nreturn sum;
def mean(values):\n    total = 0.0\n    for v in values:\n        total += v * v\n    return total / len(values)
{"name": "tool", "arguments": {"city": "Bern", "days": 3}, "ok": true, "list": [1, 2, 3]}
Der Fluss ist breit und still, und am Ufer steht ein Haus mit grünen Läden. Wer dort wohnt, weiß niemand so genau; abends brennt Licht, und manchmal hört man eine Geige.
La maison est près de la mer. Le matin, nous allons à la plage avec les enfants; l'après-midi, il fait trop chaud et tout le monde dort. Où êtes-vous allés l'été dernier?
El tren sale a las ocho y llega al mediodía. ¿Quién tiene los billetes? El niño dice que están en la mesa, junto al pan y las llaves. ¡Vamos!
Vlak jede přes hory a řeku, a za oknem je vidět zámek. Příští zastávka je poslední.
Погода сегодня хорошая, и мы идём гулять в парк. Вода холодная, но дети хотят купаться.
The signal is sampled sixteen thousand times a second; forty milliseconds of it make one frame of six hundred and forty values. A frame has no name, only a place in the row.
Write a short story about a lamp that is afraid of the dark. Once upon a time there was a lamp, and it lived in the cellar of a house at the end of the lane. Every night somebody switched it off, and every night it counted to one hundred and waited for the morning.
"""


def counted():
    """Lines with numbers, times and units, so that digits meet in every order."""
    for i in range(1, 120):
        yield f"{i}. The clock says {i % 24:02d}:{i * 7 % 60:02d}, {i * 37 % 1000} m, {i * 0.25:.2f} EUR."
        yield f"  item {i}:\tvalue = {i * i};  // row {i % 9}, column {i % 13}\n\n"


TRAINING_TEXT = [p.replace("\\n", "\n") for p in PARAGRAPHS.strip().split("\n")] * 3 + list(counted())
