"""The machine: how a mini-batch step becomes loops over registers, from the innermost outwards.

Kernels take checked arrays and write into what they are given. They raise nothing and allocate nothing.

**Tile** (`simd`). A core multiplies and adds one or two vectors a cycle, if it is not kept waiting. So the innermost
loop, the micro-kernel, holds a register tile of 4 rows x 5 vectors of sums, and each turn adds an outer product to it:
5 vectors and 4 numbers are loaded for 20 multiplications of vectors. Compilers don't find this form by themselves:
`simd` makes the tile a Numba type, and what is done with it intrinsics; `vectors` and `masks` have further ones. How
many numbers a vector has, and how many vectors a tile, follows the CPU that Numba compiles for.

**Panel** (`panels`). What a tile reads must lie in memory in the order in which it is read. Weights are packed into
panels of up to 5 vectors of hidden units, a row of 80 floats behind the other, when an epoch begins, and unpacked when
it ends. Hidden units, and what comes back to them, have the same form.

**Pattern** (`pattern`). Of MNIST's pixels 19 % are not zero, and what is not multiplied takes no time. A tile of 4 rows
walks a list of the pixels where one of its rows is not zero (33 % of them: rows of one label that look alike are taken
together, since they share many of their zeros), the tile that updates the weights of 4 pixels a list of the rows where
one of the pixels is not zero (28 %). Masks of 16 bits and one instruction that compresses a vector make the lists.
There is no other path: where nothing is zero the lists are full, and cost little.

**Rows** (`rows`). Floats and bytes are read where the caller has them: what a byte means, converted and scaled, a tile
looks up in a table. What must be converted or scaled otherwise, or padded to whole masks, or is in another order, is
packed, a block of rows at a time. Tiles ask for the next block while they compute: memory is slow.

**Team** (`team`). The workers, threads, run through a slice of batches inside one parallel region, and meet as often as
they need to: each shows in memory how far it is, and looks at the others, which takes 0.3 us; a region takes 2 us, or
180, as the threading layer has it. Before they begin all must be there; if not, one does the work alone.

**A batch of the network** (`network`, its products in `tiles`, its memory in `network_memory`) goes through two regions
of work, and all workers meet after each:

- forward: read rows (`rows`), list pixels; by tiles (panel x rows): hidden = relu(X W1), partial logits;
- backward: logits, softmax, dlogits = softmax - onehot; list rows; by panels: dhidden = (dlogits W2^T) * (hidden > 0),
  update of W2; by tiles (panel x pixels): update of W1.

Logits need the sum over all hidden units: each panel adds up its part in forward, and backward adds the parts.

**Who owns what.** In each region every worker writes what is its own. The tiles of a region, panel after panel, form a
line that the workers share, by what each took for its piece before: cores are not equally fast on a machine that has
other users. So each keeps nearly the same panels of weights from batch to batch, in its own cache. What all of them
need of a batch, its rows, patterns, logits and dlogits, each reads or makes for itself: what one core writes and
another reads travels slower than it is made. Large batches go through a region in blocks of rows that stay in the
cache as well, and of many pixels first one piece goes through all panels, then the next. Where a batch has many more
rows than there are hidden units, X is more to read than weights: then each worker has some rows in forward, some pixels
in backward, and all panels.

**Why sums keep one order.** Floating-point sums depend on their order. Here each sum is made by one worker, in an order
that the shapes and the data fix: over a list from its beginning, over pieces and panels from the first. How many
workers there are decides who makes a sum, never how: the same input gives the same bits with any number of threads.

**Softmax regression** (`softmax_regression`) has few classes: panels of them would be mostly padding. So it is the
other way round: pixels along the vectors, classes as rows of a tile, X read where it lies. Logits are dot products,
added up across the lanes at the end, several at once; the gradient is the same outer product. Each worker has some of
the pixels, of all rows, and steps their weights: workers meet once a block of rows, to add up their shares of logits.

**softmax** (`softmax`) takes the logits of 16 rows side by side, a band, so that exp works on whole vectors for any
number of classes.

**Slices**. `run`, the one function of a model that Python calls, takes as many batches as 50 ms are good for. Between
two calls come Ctrl-C, progress bars and other threads. With ``learn`` false the same function writes its verdicts on
rows instead, losses, predictions and probabilities, and there each worker takes the next block until none is left.

**jit** has the options of the compiler with their reasons, and keeps machine code on disk. A kernel is one function,
all helpers are inlined. What a worker does, `work`, and the products for each width of panels are compiled apart, when
first needed, and called at their addresses (`calls`): so a region, and a width that no network has, cost no time to
compile. `subnormals` has them count as zero while a kernel runs. `deformation` and `text` are kernels of their own, for
the data sets; `limits` measures what the machine can do at most.
"""
