// Both epochs in the manner of hw0's C++ extension: row-major arrays, and matrix products by three nested loops.
// The innermost loop runs along rows wherever it can, so that a compiler may make vectors of it.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

using std::size_t;

// C (rows, columns) = A (rows, inner) B (inner, columns)
template <typename T>
static void multiply(const T *A, const T *B, T *C, size_t rows, size_t inner, size_t columns) {
    std::fill(C, C + rows * columns, T(0));
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < inner; k++)
            for (size_t j = 0; j < columns; j++)
                C[i * columns + j] += A[i * inner + k] * B[k * columns + j];
}

// C (inner, columns) = A^T B with A (rows, inner), B (rows, columns)
template <typename T>
static void multiply_left_transposed(const T *A, const T *B, T *C, size_t rows, size_t inner, size_t columns) {
    std::fill(C, C + inner * columns, T(0));
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < inner; k++)
            for (size_t j = 0; j < columns; j++)
                C[k * columns + j] += A[i * inner + k] * B[i * columns + j];
}

// C (rows, inner) = A B^T with A (rows, columns), B (inner, columns)
template <typename T>
static void multiply_right_transposed(const T *A, const T *B, T *C, size_t rows, size_t inner, size_t columns) {
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < inner; k++) {
            T sum = 0;
            for (size_t j = 0; j < columns; j++)
                sum += A[i * columns + j] * B[k * columns + j];
            C[i * inner + k] = sum;
        }
}

// logits (rows, classes) become softmax(logits) - onehot(y)
template <typename T>
static void softmax_minus_onehot(T *logits, const unsigned char *y, size_t rows, size_t classes) {
    for (size_t i = 0; i < rows; i++) {
        T *row = logits + i * classes;
        T highest = *std::max_element(row, row + classes), sum = 0;
        for (size_t k = 0; k < classes; k++)
            sum += row[k] = std::exp(row[k] - highest);
        for (size_t k = 0; k < classes; k++)
            row[k] /= sum;
        row[y[i]] -= 1;
    }
}

template <typename T>
static void step(T *W, const T *gradient, size_t size, T rate) {
    for (size_t i = 0; i < size; i++)
        W[i] -= rate * gradient[i];
}

template <typename T>
static void softmax_regression_epoch(const T *X, const unsigned char *y, T *theta, size_t examples, size_t inputs,
                                     size_t classes, T lr, size_t batch) {
    std::vector<T> logits(batch * classes), gradient(inputs * classes);
    for (size_t start = 0; start < examples; start += batch) {
        const size_t rows = std::min(batch, examples - start);
        const T *x = X + start * inputs;
        multiply(x, theta, logits.data(), rows, inputs, classes);
        softmax_minus_onehot(logits.data(), y + start, rows, classes);
        multiply_left_transposed(x, logits.data(), gradient.data(), rows, inputs, classes);
        step(theta, gradient.data(), gradient.size(), lr / T(batch));
    }
}

template <typename T>
static void nn_epoch(const T *X, const unsigned char *y, T *W1, T *W2, size_t examples, size_t inputs, size_t hidden,
                     size_t classes, T lr, size_t batch) {
    std::vector<T> H(batch * hidden), dH(batch * hidden), logits(batch * classes);
    std::vector<T> dW1(inputs * hidden), dW2(hidden * classes);
    for (size_t start = 0; start < examples; start += batch) {
        const size_t rows = std::min(batch, examples - start);
        const T *x = X + start * inputs;
        multiply(x, W1, H.data(), rows, inputs, hidden);
        for (size_t i = 0; i < rows * hidden; i++)
            H[i] = std::max(H[i], T(0));
        multiply(H.data(), W2, logits.data(), rows, hidden, classes);
        softmax_minus_onehot(logits.data(), y + start, rows, classes);
        multiply_right_transposed(logits.data(), W2, dH.data(), rows, hidden, classes);
        for (size_t i = 0; i < rows * hidden; i++)
            dH[i] = H[i] > 0 ? dH[i] : T(0);
        multiply_left_transposed(H.data(), logits.data(), dW2.data(), rows, hidden, classes);
        multiply_left_transposed(x, dH.data(), dW1.data(), rows, inputs, hidden);
        step(W2, dW2.data(), dW2.size(), lr / T(batch));
        step(W1, dW1.data(), dW1.size(), lr / T(batch));
    }
}

#define EXPORT(T)                                                                                                      \
    extern "C" void softmax_regression_epoch_##T(const T *X, const unsigned char *y, T *theta, size_t examples,       \
                                                 size_t inputs, size_t classes, T lr, size_t batch) {                 \
        softmax_regression_epoch(X, y, theta, examples, inputs, classes, lr, batch);                                  \
    }                                                                                                                  \
    extern "C" void nn_epoch_##T(const T *X, const unsigned char *y, T *W1, T *W2, size_t examples, size_t inputs,    \
                                 size_t hidden, size_t classes, T lr, size_t batch) {                                 \
        nn_epoch(X, y, W1, W2, examples, inputs, hidden, classes, lr, batch);                                         \
    }

EXPORT(float)
EXPORT(double)
