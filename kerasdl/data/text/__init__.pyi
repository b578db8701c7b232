from .conll import read_conll as read_conll
from .drawn_names import draw_names as draw_names
from .generated_pairs import draw_pairs as draw_pairs
