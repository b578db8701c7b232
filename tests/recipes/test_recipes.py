"""The recipes in docs, held to bars that would be missed if what they teach were wrong."""

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "recipes"


def recipe(name):
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_convolutions_cost_what_their_formulas_say(tmp_path):
    costs = recipe("convolutions").main(str(tmp_path / "kinds.png"))
    pixels = 32 * 32
    assert costs["3 x 3"] == (9 * 64 * 64 + 64, pixels * 9 * 64 * 64)
    assert costs["3 x 3, dilated"] == costs["3 x 3"]
    assert costs["3 x 3 in 8 groups"] == (9 * 8 * 64 + 64, pixels * 9 * 8 * 64)
    assert costs["transposed 4 x 4, stride 2"][0] == 16 * 64 * 64 + 64
    norms = 2 * 4 * 64  # a separable convolution normalises twice
    assert costs["3 x 3 depthwise, 1 x 1"] == (9 * 64 + 64 * 64 + norms, pixels * (9 * 64 + 64 * 64))
    assert (tmp_path / "kinds.png").stat().st_size > 10_000


def test_one_neuron_never_learns_xor_and_a_hidden_layer_does():
    found = recipe("xor").main()
    assert found["net"] == 1.0
    assert max(found["perceptron"], found["net without activation"]) <= 0.75


def test_gradients_vanish_in_sigmoids_alone():
    found = recipe("vanishing_gradients").main()
    assert found["sigmoid, Xavier"][0] < 1e-9 * found["sigmoid, Xavier"][-1]
    for name in ("tanh, Xavier", "relu, He"):
        assert found[name][0] > 0.1 * found[name][-1]
    assert found["relu, Xavier"].max() < 0.01 * found["relu, He"].min()


def test_no_optimizer_wins_on_all_surfaces(tmp_path):
    found = recipe("optimizer_race").main(str(tmp_path / "race.png"))
    best = {surface: min(ends, key=ends.get) for surface, ends in found.items()}
    assert len(set(best.values())) > 1
    assert min(found["ravine"]["momentum"], found["ravine"]["Nesterov"]) < 0.01 * found["ravine"]["gradient descent"]
    assert found["saddle"]["Adam"] < -1.0 < found["saddle"]["momentum"]
    assert (tmp_path / "race.png").stat().st_size > 10_000


def test_batch_norm_by_hand_is_that_of_keras():
    found = recipe("batch_norm_by_hand").main()
    assert max(found[name] for name in ("training", "evaluation", "statistics")) < 1e-5
    assert found["mean that evaluation subtracts"] < 1.0  # of 3: the running mean lags behind


@pytest.mark.bars
def test_a_denoiser_beats_a_median_and_strangers_are_found(tmp_path):
    found = recipe("autoencoder")
    figures = found.denoise(count=1000, epochs=4, path=str(tmp_path / "digits.png"))
    assert figures["denoiser"] > figures["median"] + 2 > figures["noisy"] + 2
    assert (tmp_path / "digits.png").stat().st_size > 3_000
    assert found.find_strangers(epochs=15)["network"] > 0.95


@pytest.mark.bars
def test_dropout_keeps_a_net_from_learning_wrong_labels_by_heart():
    found = recipe("dropout").main(seeds=1)
    assert found[0.0][0] > 0.98
    assert found[0.5][1] > found[0.0][1] + 0.04


@pytest.mark.bars
def test_doubtful_labels_are_found_and_a_net_that_learns_the_mended_ones_is_better():
    found = recipe("wrong_labels").main()
    assert found["wrong among them"] > 0.4  # of all labels, 0.1 are wrong
    assert found["wrong labels found"] > 0.6
    assert found["accuracy after"] > found["accuracy before"] + 0.01


@pytest.mark.bars
def test_slices_show_where_the_digits_bundle_fails_and_moved_digits_mend_it():
    found = recipe("error_analysis").main()
    before, after = zip(*found.values(), strict=True)
    assert min(before) < 0.88
    assert min(after) > 0.96
    assert found["in place"][1] > 0.985


@pytest.mark.bars
def test_filters_change_most_in_the_first_epochs(tmp_path):
    shares = recipe("filters_over_training").main(str(tmp_path / "filters.png"))
    assert shares[0] == max(shares)
    assert shares[0] > 2 * shares[-1]
    assert (tmp_path / "filters.png").stat().st_size > 5000


@pytest.mark.slow
def test_high_rates_kill_relus_and_no_leaky_ones():
    relus = recipe("dead_relu")
    assert relus.dead_and_accuracy("relu", relus.RATES[-1])[0] > 0.15 > relus.dead_and_accuracy("relu", 0.05)[0]
    assert relus.dead_and_accuracy("leaky_relu", relus.RATES[-1])[0] == 0.0


@pytest.mark.slow
def test_the_best_rate_is_neither_low_nor_high(tmp_path):
    errors = {rate: value for rate, (value,) in recipe("learning_rate_sweep").main(tmp_path / "r.png", seeds=1).items()}
    assert min(errors[0.1], errors[0.5], errors[1.0]) < 0.15
    assert min(errors[0.001], errors[5.0]) > 0.6
    assert (tmp_path / "r.png").stat().st_size > 5000


@pytest.mark.bars
def test_a_recurrent_net_tells_good_reviews_from_bad_ones():
    assert recipe("sentiment").train(seed=0) >= 0.72


@pytest.mark.slow
def test_a_net_from_scratch_reads_digits_as_one_in_keras():
    digits = recipe("mlp_digits")
    assert digits.from_scratch() >= 0.965
    assert digits.in_keras() >= 0.965


@pytest.mark.slow
def test_a_net_is_no_better_on_iris():
    rows = {row["name"]: row["accuracy"] for row in recipe("iris").main(seeds=1)}
    assert rows["net in Keras"] >= 0.93
    assert max(rows.values()) <= rows["logistic"] + 0.04


@pytest.mark.slow
def test_a_net_prices_bent_effects_and_is_no_better_on_few_rows():
    found = recipe("house_price").main()
    assert found["drawn houses"]["net"] > found["drawn houses"]["linear"] + 0.3
    assert found["diabetes"]["linear"] > found["diabetes"]["net"] - 0.1


@pytest.mark.bars
def test_lenet_reads_digits():
    assert recipe("lenet5_digits").train(seed=0) >= 0.985


@pytest.mark.bars
@pytest.mark.timeout(1800)
def test_a_whole_resnet_reads_digits():
    assert recipe("resnet18_digits").train(seed=0) >= 0.99


@pytest.mark.bars
def test_images_that_grow_teach_as_much():
    found = recipe("growing_images").compare(seed=0)
    growing, large = (found[name][0] for name in ("growing", "large throughout"))
    assert growing >= max(0.98, large - 0.01)


@pytest.mark.bars
def test_a_student_with_a_teacher_beats_itself_alone():
    found = recipe("distillation").compare(seed=0)
    assert found["teacher"] > found["taught"] > found["alone"]


@pytest.mark.bars
def test_a_folder_of_masks_teaches_more_than_a_threshold(tmp_path):
    cells = recipe("masks_folder")
    cells.draw_folder(tmp_path / "cells")
    bundle, figures = cells.train(tmp_path / "cells", epochs=12)
    assert sum(figures.values()) / 2 > 0.905  # the best threshold of the brightness has 0.899
    assert bundle.labels == ("background", "cell")


@pytest.mark.bars
def test_a_rare_foreground_is_found_where_a_threshold_fails():
    spots = recipe("rare_foreground")
    assert 0.015 < (spots.pictures(50, seed=2).arrays()[1]["semantic"] == 1).mean() < 0.025
    assert spots.threshold()["IoU"] < 0.3
    assert spots.compare("Dice", seed=0)["IoU"] > 0.55


@pytest.mark.bars
def test_two_digits_are_named_and_thresholds_help_where_pairs_are_few(tmp_path):
    plain, tuned = recipe("several_digits").compare(400, 12, picture=str(tmp_path / "trade_off.png"))
    assert tuned > plain > 0.9


@pytest.mark.bars
def test_letters_help_with_digits():
    pretrained, scratch = recipe("transfer").compare("mobilenet_v2")
    assert pretrained > scratch + 0.03


@pytest.mark.bars
def test_instance_norms_forget_contrast_and_batch_norms_do_not():
    batch, instance = (recipe("normalisations").compare(norm) for norm in ("batch", "instance"))
    assert min(batch[0], instance[0]) > 0.95
    assert instance[2] > batch[2] + 0.3


@pytest.mark.bars
def test_rare_classes_are_found_more_often():
    compare = recipe("rare_classes").compare
    rare, common = compare("plain", seed=0)
    for way in ("class weights", "oversampling"):
        found, others = compare(way, seed=0)
        assert found > rare
        assert others > common - 0.05


@pytest.mark.bars
def test_on_drawn_prices_no_network_beats_the_last_value():
    recipe_of_prices = recipe("stock_prices")
    series = recipe_of_prices.random_walks(1500, volatility=0.015, seed=7)[0]
    figures = recipe_of_prices.compare(series, epochs=4).figures
    assert figures["TCN"]["MASE"] > 0.97 * figures["naive"]["MASE"]
    assert [*figures] == ["TCN", "naive", "drift"]


@pytest.mark.bars
def test_a_classifier_of_windows_finds_shapes_and_not_their_edges():
    ((found, edges, spent),) = recipe("sliding_window_to_faster_rcnn").compare(("sliding_window",)).values()
    assert found >= 0.45
    assert edges < found / 2
    assert spent > 0
