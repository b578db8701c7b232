"""Questions of interviews: each has an answer, and a place that exists."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
ANSWERS = [part for part in (DOCS / "questions.md").read_text().split("\n\n") if part.startswith("**")]


def test_every_question_is_answered_and_shown():
    assert len(ANSWERS) >= 50
    for answer in ANSWERS:
        question = re.match(r"\*\*(.+?)\*\* (.+)", answer.replace("\n", " "))
        assert question, answer[:60]
        links = re.findall(r"\]\(([^)#]+)\)", answer)
        assert links, question[1]
        for link in links:
            assert (DOCS / link).resolve().exists(), f"{question[1]}: {link}"


# Words of each question that the plans "Mastery in phases" and "10 weeks" of docs/learn.md list, in their order.
ASKED = {
    "Mastery in phases": [
        *("different from machine learning", "kinds of problems", "ReLU, when a sigmoid", "without activation"),
        *("chain rule", "gradients vanish", "a kernel", "Why pooling", "dropout do", "When to use L2"),
    ],
    "10 weeks": [
        *("ReLU better", "BCE or CE", "Adam or SGD", "initialisation matter", "dropout do, and what at inference"),
        *("gradient of a hidden layer", "autograd and the computational graph", "output size", "why global pooling"),
        *("receptive field", "parameters has VGG", "skip connections help", "fine-tune on a small", "224 x 224"),
        *("NMS step by step", "SSD or YOLO", "ROI pooling", "bring to a U-Net", "Anchors or none", "use focal loss"),
        *(
            "many scales",
            "gradient of an RNN",
            "gates of an LSTM",
            "GRU or LSTM",
            "pad and mask",
            "encoder and a decoder",
        ),
        *("attention improve", "Design a translator", "queries, keys and values", "layer norm around", "BERT's"),
        *("warm up", "positions", "Encoder, decoder, or both", "ViT or CNN", "an autoencoder?", "VAE", "min-max"),
        *("WGAN", "StyleGAN or DCGAN", "Diffusion or GAN", "unstable GAN", "When layer norm", "gradient clipping"),
        *(
            "label smoothing",
            "contrastive",
            "Supervised or self-supervised",
            "metric learning",
            "TorchScript",
            "latency",
        ),
        *("pruning", "quantisation cost", "trade-offs of the edge", "deployment", "SVD", "Derive cross-entropy"),
        *("saddle points", "KL plus entropy", "gradients of a convolution", "complexity", "whiteboard"),
    ],
}


def test_every_question_of_the_plans_is_there():
    questions = [answer.split("**")[1] for answer in ANSWERS]
    for plan, asked in ASKED.items():
        for words in asked:
            assert any(words in question for question in questions), f"{plan}: {words}"


def test_no_question_stands_twice():
    questions = [answer.split("**")[1].lower() for answer in ANSWERS]
    assert len(set(questions)) == len(questions)
