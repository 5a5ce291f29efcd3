"""The ranges that numbers of the config may have, named in the constructors that take them.

`check.py` reads these names from source, without importing what it checks; beartype reads the predicates in tests.
"""

from typing import Annotated

from beartype.vale import Is

PositiveInt = Annotated[int, Is[lambda value: value >= 1]]
NonNegativeInt = Annotated[int, Is[lambda value: value >= 0]]
PositiveFloat = Annotated[float | int, Is[lambda value: value > 0]]
NonNegativeFloat = Annotated[float | int, Is[lambda value: value >= 0]]
Probability = Annotated[float | int, Is[lambda value: 0 <= value <= 1]]
Share = Annotated[float | int, Is[lambda value: 0 < value <= 1]]
Fraction = Annotated[float | int, Is[lambda value: 0 <= value < 1]]
Seed = Annotated[int, Is[lambda value: 0 <= value < 2**32]]  # what numpy and Lightning take
