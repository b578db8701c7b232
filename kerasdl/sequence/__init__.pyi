from . import rnn as rnn
from . import tokenizers as tokenizers
from .tokenizers import Tokenizer as Tokenizer
from .tokenizers import load_tokenizer as load_tokenizer
from .tokenizers import train_tokenizer as train_tokenizer
