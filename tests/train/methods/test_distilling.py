"""`distill`: its loss against a hand-written one, what it teaches, and what it leaves alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError
from kerasdl.train import RunConfig, fit
from kerasdl.train.methods import distillation
from kerasdl.train.methods.distillation import distill

SPARSE = keras.losses.SparseCategoricalCrossentropy


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def divergence(teacher, student, temperature=1.0):
    wanted, given = log_softmax(teacher / temperature), log_softmax(student / temperature)
    return temperature**2 * (np.exp(wanted) * (wanted - given)).sum(axis=-1)


def settings(**more):
    return RunConfig(**{"epochs": 2, "batch_size": 8, "progress": "off", **more})


def sharp_teacher(toy):
    """A teacher that disagrees with the labels, so that what comes from it shows."""
    teacher = toy.model(width=32, norm=True, dropout=0.3)
    teacher.layers[-1].kernel.assign(8 * teacher.layers[-1].kernel)
    return teacher


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_divergence_is_the_closed_form(temperature):
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(0, 5, (2, 6, 3, 7)).astype("float32")
    given = distillation.softened_divergence(teacher, student, temperature)
    np.testing.assert_allclose(given, divergence(teacher, student, temperature), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(distillation.softened_divergence(teacher, teacher, temperature), 0)


def test_equals_a_hand_written_step_with_class_weights(toy, task):
    x, y = toy.data(32)
    student, teacher = toy.model(), sharp_teacher(toy)
    before = [weight.numpy() for weight in student.trainable_weights]
    weights = np.where(y == 1, 3.0, 0.5).astype("float32")
    wanted = tf.nn.softmax(teacher(x, training=False) / 2.0)
    with tf.GradientTape() as tape:
        logits = student(x, training=True)
        hard = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
        soft = tf.nn.softmax_cross_entropy_with_logits(wanted, logits / 2.0)  # the divergence but for a constant
        loss = tf.reduce_mean(weights * (0.7 * hard + 0.3 * 4.0 * soft))
    gradients = tape.gradient(loss, student.trainable_weights)

    config = settings(
        steps=1, batch_size=32, shuffle=False, optimizer="sgd", learning_rate=0.1, class_weights={0: 0.5, 1: 3.0}
    )
    distill(student, teacher, (x, y), temperature=2.0, alpha=0.3, task=task, config=config)
    for weight, old, gradient in zip(student.trainable_weights, before, gradients, strict=True):
        np.testing.assert_allclose(weight.numpy() - old, -0.1 * gradient, atol=1e-6)


def test_student_comes_closer_to_its_teacher(toy, task):
    teacher, students = sharp_teacher(toy), [toy.model(width=8) for _ in range(2)]
    students[1].set_weights(students[0].get_weights())
    data, held_out = toy.data(256), toy.data(200, seed=1)[0]
    config = settings(epochs=20, learning_rate=0.02)
    fit(students[0], data, task=task, config=config)
    distill(students[1], teacher, data, alpha=0.9, temperature=2.0, task=task, config=config)
    alone, taught = (divergence(teacher(held_out).numpy(), each(held_out).numpy()).mean() for each in students)
    assert taught < 0.2 * alone


def test_without_a_share_of_the_teacher_it_is_fit(toy, task):
    teacher, students = sharp_teacher(toy), [toy.model() for _ in range(2)]
    students[1].set_weights(students[0].get_weights())
    fit(students[0], toy.data(), task=task, config=settings())
    distill(students[1], teacher, toy.data(), alpha=0.0, task=task, config=settings())
    assert toy.digest(students[0]) == toy.digest(students[1])


def test_teacher_is_left_alone(toy, task):
    teacher = sharp_teacher(toy)
    teacher.get_layer("hidden").trainable = False
    before, flags = toy.digest(teacher), [layer.trainable for layer in teacher.layers]
    student = toy.model()
    run = distill(student, teacher, toy.data(), task=task, config=settings())
    assert run.model is student
    assert toy.digest(teacher) == before
    assert teacher.trainable
    assert [layer.trainable for layer in teacher.layers] == flags


def test_validation_judges_the_student_alone(toy, task):
    student, validation = toy.model(norm=True, dropout=0.5), toy.data(50, seed=1)
    config = settings(restore_best=False)
    run = distill(student, sharp_teacher(toy), toy.data(32), validation=validation, task=task, config=config)
    student.compile(loss=task.loss(), metrics=task.metrics())
    expected = student.evaluate(*validation, batch_size=8, verbose=0, return_dict=True)
    assert run.history["val_loss"][-1] == pytest.approx(expected["loss"], rel=1e-5)
    assert run.history["val_accuracy"][-1] == pytest.approx(expected["accuracy"], rel=1e-5)
    assert run.best.value == max(run.history["val_accuracy"])


def test_sequential_student_with_a_subclassed_teacher(toy, task):
    class Teacher(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = keras.layers.Dense(2, kernel_initializer=keras.initializers.RandomNormal(0, 4.0, seed=0))

        def call(self, x):
            return self.head(x)

    student, teacher = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), Teacher()
    teacher(np.zeros((1, 4), "float32"))
    x, y = toy.data(128)
    before = divergence(teacher(x).numpy(), student(x).numpy()).mean()
    distill(student, teacher, (x, y), alpha=1.0, task=task, config=settings(epochs=30, learning_rate=0.1))
    assert divergence(teacher(x).numpy(), student(x).numpy()).mean() < 0.05 * before


class StopAt(keras.callbacks.Callback):
    """Breaks a run off, as a crash would."""

    def __init__(self, step):
        super().__init__()
        self.steps = iter(range(1, step))

    def on_train_batch_end(self, batch, logs=None):
        if next(self.steps, None) is None:
            raise ZeroDivisionError


def test_resumed_run_ends_with_the_same_weights(toy, task, tmp_path):
    teacher = sharp_teacher(toy)

    def run(folder, stop_at):
        keras.utils.set_random_seed(3)
        config = settings(folder=tmp_path / folder, save_every=3)
        data, validation, callbacks = toy.data(), toy.data(20, seed=1), [StopAt(stop_at)]
        student = toy.model(dropout=0.2)
        return distill(student, teacher, data, validation=validation, callbacks=callbacks, task=task, config=config)

    undisturbed = run("whole", 99)
    with pytest.raises(ZeroDivisionError):
        run("broken", 12)
    resumed = run("broken", 99)
    assert resumed.resumed
    assert resumed.steps == undisturbed.steps == 16
    assert toy.digest(resumed.model) == toy.digest(undisturbed.model)

    (best,) = (tmp_path / "whole" / "checkpoints").glob("best_*/variables.npz")
    assert len(np.load(best).files) == len(undisturbed.model.variables)  # the teacher is not in it
    teacher.layers[-1].bias.assign(teacher.layers[-1].bias + 1)
    with pytest.raises(ArgumentError, match=r"trainer\.teacher is"):
        run("broken", 99)


def test_refuses_what_cannot_be_distilled(toy, task):
    student, data = toy.model(), toy.data()
    with pytest.raises(ArgumentError, match=r"alpha must be a number from 0\.0 to 1\.0; got 1\.5"):
        distill(student, sharp_teacher(toy), data, alpha=1.5, task=task)
    with pytest.raises(ArgumentError, match="temperature must be a number"):
        distill(student, sharp_teacher(toy), data, temperature=0, task=task)
    with pytest.raises(ArgumentError, match=r"a teacher must give what the student gives, \(None, 2\)"):
        distill(student, toy.model(classes=3), data, task=task)
    with pytest.raises(ArgumentError, match="logits of 2 classes or more"):
        distill(toy.model(classes=1), toy.model(classes=1), data, task=task)
    with pytest.raises(ArgumentError, match="must share no weight"):
        distill(student, student, data, task=task)
    with pytest.raises(ArgumentError, match="functional or Sequential"):
        distill(type("Own", (keras.Model,), {})(), sharp_teacher(toy), data, task=task)
