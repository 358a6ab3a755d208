"""Floor 5: what people look at. Tables, figures and one self-contained page.

Everything here reads score rows and stored pictures only, so a report can be rebuilt at any time
with no cluster and no model. Nothing imports pyplot, reads the clock or touches the network.

Rooms: ``table`` for terminals, ``figures`` for files, ``page`` for browsers.
"""
