"""What the checks in Python share: something that went wrong, and the end of a matrix."""


class Wrong(Exception):
    """Something that the contract does not allow."""


def end_of_matrix(points, failures):
    """Prints how many points were tried and the first failures; returns the exit status."""
    print(f"figure: {points} points, {len(failures)} of them ended otherwise")
    for failure in failures[:5]:
        print(f"failed: {failure}")
    return 1 if failures else 0
