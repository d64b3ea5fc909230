"""Kernels that parse lines of text to pixels and labels.

A kernel reads whole lines, each ending in a newline, from the beginning of a text until the text ends or the output
arrays are full. The kernel returns the number of rows, the position after the last line, and FINE. At the first invalid
line it returns the number of rows before this line, the position of the wrong token, and the kind of error.
"""

from fastml.kernels.compile.options import helper, kernel

FINE, LABEL, INDEX, ORDER, VALUE, COLUMNS = range(6)

LARGEST = 255  # the largest label and pixel: both are uint8
TAB, NEWLINE, RETURN, SPACE = (ord(character) for character in "\t\n\r ")
ZERO, NINE, COLON, COMMA = (ord(character) for character in "09:,")


@helper
def skip_blanks(text, i):
    """Return the position of the first byte from i on that is not a blank; a carriage return counts as a blank."""
    while text[i] in (SPACE, TAB, RETURN):
        i += 1
    return i


@helper
def ends_token(byte):
    """Return whether a token ends before this byte."""
    return byte in (SPACE, TAB, RETURN, NEWLINE)


@helper
def read_integer(text, i, largest):
    """Return the number at i and the position after its digits; -1 for no digits or a number above largest."""
    begin = i
    number = 0
    while ZERO <= text[i] <= NINE:
        number = min(10 * number + (text[i] - ZERO), largest + 1)  # the limit avoids overflow for any number of digits
        i += 1
    return (-1 if i == begin or number > largest else number), i


@helper
def read_field(text, i):
    """Return the number between i and the next comma or newline, and its end; -1 if the text is not a number."""
    number, i = read_integer(text, skip_blanks(text, i), LARGEST)
    i = skip_blanks(text, i)
    return (number if text[i] == COMMA or text[i] == NEWLINE else -1), i


@kernel
def read_libsvm(text, images, labels):
    """Read lines of a label and index:value pairs into rows of images and labels; indices begin at 1 and increase."""
    num_pixels = images.shape[1]
    row = i = 0
    while i < text.size and row < labels.size:
        i = skip_blanks(text, i)
        if text[i] == NEWLINE:
            i += 1
            continue
        token = i
        label, i = read_integer(text, i, LARGEST)
        if label < 0 or not ends_token(text[i]):
            return row, token, LABEL
        images[row] = 0
        previous = 0
        i = skip_blanks(text, i)
        while text[i] != NEWLINE:
            token = i
            index, i = read_integer(text, i, num_pixels)
            if index < 1 or text[i] != COLON:
                return row, token, INDEX
            if index <= previous:
                return row, token, ORDER
            value, i = read_integer(text, i + 1, LARGEST)
            if value < 0 or not ends_token(text[i]):
                return row, token, VALUE
            images[row, index - 1] = value
            previous = index
            i = skip_blanks(text, i)
        labels[row] = label
        row += 1
        i += 1
    return row, i, FINE


@kernel
def read_csv(text, images, labels):
    """Read lines of a label and the value of every pixel, with commas between, into the rows of images and labels."""
    num_pixels = images.shape[1]
    row = i = 0
    while i < text.size and row < labels.size:
        line = token = i = skip_blanks(text, i)
        if text[i] == NEWLINE:
            i += 1
            continue
        label, i = read_field(text, i)
        if label < 0:
            return row, token, LABEL
        for j in range(num_pixels):
            if text[i] != COMMA:
                return row, line, COLUMNS
            token = i + 1
            value, i = read_field(text, token)
            if value < 0:
                return row, token, VALUE
            images[row, j] = value
        if text[i] != NEWLINE:
            return row, line, COLUMNS
        labels[row] = label
        row += 1
        i += 1
    return row, i, FINE
