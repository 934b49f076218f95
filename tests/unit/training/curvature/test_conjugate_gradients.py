import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from raymu.errors import PatchFailed
from raymu.training.curvature.conjugate_gradients import Operator, conjugate_gradients


def times(matrix: Tensor) -> Operator:
    return lambda vector: matrix @ vector


def positive_definite(size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return a matrix with eigenvalues from 0.1 to 10, and a right-hand side."""
    random = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(random.normal(size=(size, size)))
    matrix = (basis * np.geomspace(0.1, 10.0, size)) @ basis.T
    return torch.from_numpy(matrix), torch.from_numpy(random.normal(size=size))


@given(size=st.integers(1, 8), seed=st.integers(0, 100))
def test_as_many_iterations_as_unknowns_solve_the_system(size: int, seed: int) -> None:
    matrix, right = positive_definite(size, seed)
    solution = conjugate_gradients(times(matrix), right, precondition=torch.clone, iterations=size)
    torch.testing.assert_close(matrix @ solution, right, atol=1e-4, rtol=1e-4)


@given(size=st.integers(2, 8), seed=st.integers(0, 100))
def test_the_inverse_as_preconditioner_solves_the_system_in_one_iteration(size: int, seed: int) -> None:
    matrix, right = positive_definite(size, seed)
    inverse = torch.linalg.inv(matrix)
    solution = conjugate_gradients(times(matrix), right, precondition=times(inverse), iterations=1)
    torch.testing.assert_close(solution, inverse @ right)


@given(size=st.integers(2, 8), seed=st.integers(0, 100))
def test_each_iteration_brings_the_solution_nearer(size: int, seed: int) -> None:
    matrix, right = positive_definite(size, seed)
    exact = torch.linalg.solve(matrix, right)
    errors = []
    for iterations in range(size):
        error = conjugate_gradients(times(matrix), right, precondition=torch.clone, iterations=iterations) - exact
        errors.append(float(error @ matrix @ error))
    assert errors == sorted(errors, reverse=True)


def test_nothing_solves_a_system_without_a_right_hand_side() -> None:
    matrix, right = positive_definite(4, 0)
    zero = torch.zeros_like(right)
    assert not conjugate_gradients(times(matrix), zero, precondition=torch.clone, iterations=4).any()


@pytest.mark.parametrize("curvature", [-1.0, 0.0, float("nan")])
def test_no_positive_curvature_along_the_first_direction_is_a_failed_patch(curvature: float) -> None:
    with pytest.raises(PatchFailed, match=r"no positive curvature .* larger unlearning\.curvature\.damping"):
        conjugate_gradients(lambda vector: curvature * vector, torch.ones(3), precondition=torch.clone, iterations=3)


def test_where_the_curvature_turns_negative_the_solution_so_far_is_returned() -> None:
    matrix = torch.diag(torch.tensor([2.0, 1.0, -0.5]))
    right = torch.tensor([1.0, 1.0, 0.1])
    first = conjugate_gradients(times(matrix), right, precondition=torch.clone, iterations=1)
    second = conjugate_gradients(times(matrix), right, precondition=torch.clone, iterations=2)
    later = conjugate_gradients(times(matrix), right, precondition=torch.clone, iterations=3)
    assert not torch.equal(first, second)
    assert torch.equal(later, second)
