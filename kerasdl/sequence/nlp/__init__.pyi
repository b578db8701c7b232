from .tag_decoder import TagDecoder as TagDecoder
from .token_table import TokenTable as TokenTable
