"""Kernels that parse lines of text to pixels and labels.

A kernel reads whole lines, each ending in a newline, from the beginning of a text until the text ends or the output
arrays are full. The kernel returns the number of rows, the position after the last line, and FINE. At the first invalid
line it returns the number of rows before this line, the position of the wrong token, and the kind of error.
"""

from fastml.kernels.compile.options import helper, kernel

FINE, LABEL, INDEX, ORDER, VALUE, COLUMNS = range(6)

LARGEST = 255  # the largest label and pixel: both are uint8
NO_COLUMN = -1
TAB, NEWLINE, RETURN, SPACE = (ord(character) for character in "\t\n\r ")
ZERO, NINE, COLON, COMMA, POINT, SMALL_E, LARGE_E = (ord(character) for character in "09:,.eE")
PLUS, MINUS, QUOTE, HASH = (ord(character) for character in '+-"#')
# The digits of a number beyond these change nothing: any integer of this many digits fits into int64, and the exponent
# of a float64 is smaller.
MOST_DIGITS, MOST_EXPONENT = 17, 400
WHOLE = 1e-9  # a number is whole if it is this near to an integer: 25500e-2 may be rounded


@helper
def skip_blanks(text, i):
    """Return the position of the first byte from i on that is not a blank; a carriage return counts as a blank."""
    while text[i] in (SPACE, TAB, RETURN):
        i += 1
    return i


@helper
def skip_comment(text, i):
    """Return the position of the end of the line if a comment begins at i, otherwise i."""
    if text[i] == HASH:
        while text[i] != NEWLINE:
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
def read_byte(text, i, scale):
    """Return the decimal number at i times scale as a byte, and the position after the number; -1 for anything else.

    A number is digits, then perhaps a point and digits, then perhaps an exponent. Where scale is 1 the number must be
    whole; otherwise it is rounded.
    """
    # Most numbers are bytes in plain digits.
    byte, end = read_integer(text, i, LARGEST)
    if scale == 1 and text[end] != POINT and text[end] != SMALL_E and text[end] != LARGE_E:
        return byte, end
    begin = i
    digits = places = exponent = 0
    number = 0.0
    while ZERO <= text[i] <= NINE:
        if digits < MOST_DIGITS:
            number = 10 * number + (text[i] - ZERO)
            digits += number > 0
        else:
            places -= 1
        i += 1
    if i == begin:
        return -1, i
    if text[i] == POINT:
        i += 1
        while ZERO <= text[i] <= NINE:
            if digits < MOST_DIGITS:
                number = 10 * number + (text[i] - ZERO)
                digits += number > 0
                places += 1
            i += 1
    if text[i] == SMALL_E or text[i] == LARGE_E:
        sign = -1 if text[i + 1] == MINUS else 1
        i += 2 if text[i + 1] == MINUS or text[i + 1] == PLUS else 1
        exponent, i = read_integer(text, i, MOST_EXPONENT)
        if exponent < 0:
            return -1, i
        exponent *= sign
    places -= exponent
    number = number / 10.0**places if places > 0 else number * 10.0**-places
    number *= scale
    if not 0 <= number < LARGEST + 0.5:
        return -1, i
    byte = int(number + 0.5)
    return (byte if byte <= LARGEST and (scale != 1 or abs(byte - number) < WHOLE) else -1), i


@helper
def read_field(text, i, scale):
    """Return the byte between i and the next comma or newline, and its end; -1 if the text is no byte."""
    i = skip_blanks(text, i)
    quoted = text[i] == QUOTE
    if quoted:
        i = skip_blanks(text, i + 1)
    number, i = read_byte(text, i, scale)
    i = skip_blanks(text, i)
    if quoted:
        if text[i] != QUOTE:
            return -1, i
        i = skip_blanks(text, i + 1)
    return (number if text[i] == COMMA or text[i] == NEWLINE else -1), i


@kernel
def read_libsvm(text, images, labels, base, scale):
    """Read lines of a label and index:value pairs into rows of images and labels; indices begin at base and increase.

    A comment goes from # to the end of its line.
    """
    num_pixels = images.shape[1]
    row = i = 0
    while i < text.size and row < labels.size:
        i = skip_comment(text, skip_blanks(text, i))
        if text[i] == NEWLINE:
            i += 1
            continue
        token = i
        label, i = read_byte(text, i, 1.0)
        if label < 0 or not (ends_token(text[i]) or text[i] == HASH):
            return row, token, LABEL
        images[row] = 0
        previous = base - 1
        i = skip_comment(text, skip_blanks(text, i))
        while text[i] != NEWLINE:
            token = i
            index, i = read_integer(text, i, num_pixels - 1 + base)
            if index < base or text[i] != COLON:
                return row, token, INDEX
            if index <= previous:
                return row, token, ORDER
            value, i = read_byte(text, i + 1, scale)
            if value < 0 or not (ends_token(text[i]) or text[i] == HASH):
                return row, token, VALUE
            images[row, index - base] = value
            previous = index
            i = skip_comment(text, skip_blanks(text, i))
        labels[row] = label
        row += 1
        i += 1
    return row, i, FINE


@kernel
def read_csv(text, images, labels, label_column, index_column, scale):
    """Read lines of numbers with commas between into the rows of images and labels.

    Each line has the pixels of an image in order, and among them the label and an index, unless their columns are
    NO_COLUMN. The index is left out.
    """
    columns = images.shape[1] + (label_column != NO_COLUMN) + (index_column != NO_COLUMN)
    row = i = 0
    while i < text.size and row < labels.size:
        line = i = skip_blanks(text, i)
        if text[i] == NEWLINE:
            i += 1
            continue
        j = 0
        for column in range(columns):
            if column > 0:
                if text[i] != COMMA:
                    return row, line, COLUMNS
                i += 1
            token = i
            if column == index_column:
                while text[i] != COMMA and text[i] != NEWLINE:
                    i += 1
            else:
                value, i = read_field(text, i, 1.0 if column == label_column else scale)
                if value < 0:
                    return row, token, LABEL if column == label_column else VALUE
                if column == label_column:
                    labels[row] = value
                else:
                    images[row, j] = value
                    j += 1
        if text[i] != NEWLINE:
            return row, line, COLUMNS
        row += 1
        i += 1
    return row, i, FINE
