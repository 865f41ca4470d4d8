"""A folder of images as embeddings in a file, and the nearest of them to a query. Needs neither Ray nor MLflow.

embedder     a model and what an image has to be made into for it
pictures     which images are below a folder
embed_folder images in batches through the model; a folder into a file
index_file   the Parquet file of embeddings: written, opened, read in blocks
nearest      which rows of a block are the nearest: torch, or FAISS
index_search the nearest of a whole file, block by block
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
