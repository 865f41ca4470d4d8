"""Embed a folder of images into a file, and find the images nearest to a query. Ray and MLflow are not needed.

embedder      a model, and the preparation of its images
pictures      list the images below a folder, and their classes
embed_folder  embed images in batches; embed a folder into a file
index_file    write, open and read the Parquet file of embeddings
nearest       find the nearest rows of a block, by torch or FAISS
index_search  find the nearest rows of a whole file, block by block
"""

from mdr_tune.retrieve.embed_folder import Embedded, LeftOut, embed_folder, embed_images
from mdr_tune.retrieve.embedder import Embedder
from mdr_tune.retrieve.index_file import EmbeddingIndex, IndexInfo, read_index
from mdr_tune.retrieve.index_search import SearchResult, search_index

__all__ = [
    "Embedded",
    "Embedder",
    "EmbeddingIndex",
    "IndexInfo",
    "LeftOut",
    "SearchResult",
    "embed_folder",
    "embed_images",
    "read_index",
    "search_index",
]
