"""Are the ratings worth anything? The statistics of votes, from plain lists of pairs and votes. Pure.

- texts      what is measured of a pair's texts
- ballots    pairs and votes as columns of numbers
- clustered  weighted means with errors over prompts and raters
- alpha      Krippendorff's alpha
- wins       win rates over the pool; side and length
- strengths  Bradley-Terry with side, length and style
- raters     one line per rater, with flags
- noise      error of a vote apart from real ambiguity, and of the label that is used
- board      all of it as one record

Nothing here reads files or knows which votes were undone.
"""

from harness.ratings.alpha import Alpha, alpha_of
from harness.ratings.ballots import Ballots, tabulate, tabulate_all, tabulate_outline
from harness.ratings.board import Board, board, board_of, disagreements
from harness.ratings.noise import Noise, fit_noise, label_error
from harness.ratings.raters import RaterRow, rater_table
from harness.ratings.strengths import Strengths, strengths
from harness.ratings.texts import Texts
from harness.ratings.wins import Wins, win_rates

__all__ = [
    "Alpha",
    "Ballots",
    "Board",
    "Noise",
    "RaterRow",
    "Strengths",
    "Texts",
    "Wins",
    "alpha_of",
    "board",
    "board_of",
    "disagreements",
    "fit_noise",
    "label_error",
    "rater_table",
    "strengths",
    "tabulate",
    "tabulate_all",
    "tabulate_outline",
    "win_rates",
]
