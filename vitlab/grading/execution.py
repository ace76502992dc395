"""Running a student's notebook so that one cell costs the others nothing."""

from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from nbgrader.preprocessors import Execute

ENDED = "This cell ended the whole program (a crash, too much memory, or os._exit): it has 0 points, the others count."


class ExecuteAll(Execute):
    """nbgrader's way to run a notebook; where a cell ends the kernel, all is run again without that cell."""

    def preprocess(self, nb: NotebookNode, resources: dict, km=None) -> tuple[NotebookNode, dict]:
        left_out: dict[int, str] = {}
        while True:
            try:
                nb, resources = super().preprocess(nb, resources, km)
                break
            except DeadKernelError:
                culprit = self.running
                if culprit in left_out:  # and yet the kernel was gone: by the end of a cell before it
                    nb.cells[culprit].source = left_out.pop(culprit)
                    earlier = [i for i in range(culprit) if nb.cells[i].cell_type == "code" and i not in left_out]
                    if not earlier:  # the kernel dies whatever runs
                        raise
                    culprit = earlier[-1]
                left_out[culprit] = nb.cells[culprit].source
                nb.cells[culprit].source = f"raise RuntimeError({ENDED!r})"
        for index, source in left_out.items():
            nb.cells[index].source = source
        return nb, resources

    def preprocess_cell(self, cell: NotebookNode, resources: dict, index: int) -> tuple[NotebookNode, dict]:
        self.running = index
        return super().preprocess_cell(cell, resources, index)
