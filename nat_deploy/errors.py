"""What can go wrong, as one tree.

    NatDeployError              one sentence: what must hold, what came, what to do
    ├── InputError              wrong use or bad input, exit code 2
    │   ├── ArchitectureError       a value outside its search space
    │   ├── FileFormatError         a file that is not what it should be
    │   ├── DataSetError            images or folders that cannot be used
    │   ├── DeviceError             an unknown or unusable device description
    │   └── MissingError            a file, package or weight that must be there
    └── WorkError               the work could not be done, exit code 1
        ├── BudgetError             no architecture meets the budget
        ├── ParityError             an exported model computes something else
        └── MeasurementError        the device gave no usable measurement

The command line prints the sentence without a traceback and exits with `exit_code`.
"""


class NatDeployError(Exception):
    """Base of every error that a user can cause or meet; its text is one clear sentence."""

    exit_code = 1


class InputError(NatDeployError):
    """Wrong use, or input that cannot be used."""

    exit_code = 2


class ArchitectureError(InputError):
    """An architecture, or a gene, lies outside its search space."""


class FileFormatError(InputError):
    """A file is broken, foreign or of another format."""


class DataSetError(InputError):
    """A data set cannot be read or cannot be trained on."""


class DeviceError(InputError):
    """A device is unknown, or its description is wrong."""


class MissingError(InputError):
    """Something that must be there is not: a file, a package, a weight."""


class WorkError(NatDeployError):
    """The request is fine, but the work could not be done."""


class BudgetError(WorkError):
    """No architecture meets the budget on the device."""


class ParityError(WorkError):
    """An exported model does not compute what the network computes."""


class MeasurementError(WorkError):
    """A device gave no usable measurement."""
