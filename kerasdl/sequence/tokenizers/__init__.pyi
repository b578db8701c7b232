from .encoding import Encoded as Encoded
from .reading import load_tokenizer as load_tokenizer
from .text_tokenizer import Tokenizer as Tokenizer
from .training import train_tokenizer as train_tokenizer
