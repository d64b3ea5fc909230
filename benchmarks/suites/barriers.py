"""The cost of a team: the barriers inside a parallel region, and a region that does nothing else."""

from . import problems

BARRIERS = 1000
number = 1
repeat = (5, 50, 0.5)
warmup_time = 0.1


class Team:
    """A team of all threads of this machine; a team of one has no region."""

    params = [0, BARRIERS]
    param_names = ("barriers",)

    def setup(self, barriers):
        with problems.skipping_older_commits():
            from fastml.kernels import team
            from fastml.kernels.compile import forks
            from fastml.kernels.compile.options import helper

        workers = forks.available_threads()
        if workers == 1:
            raise NotImplementedError("this machine has 1 thread")
        assemble, meet, Worker = team.assemble, team.meet, team.Worker

        # A `worker_kernel` without its cache, because the cache would not notice a change of this file.
        @helper
        def meet_often(together, barriers, number, workers):
            worker = Worker(together, number, workers)
            if assemble(worker):
                for _ in range(barriers):
                    meet(worker)

        together = team.team_of(workers)
        self.lock, self.run_team = forks.parallel_lock, team.run_team
        self.arguments = meet_often, together, workers, (together, barriers)
        self.time_region(barriers)

    def time_region(self, barriers):
        with self.lock:
            self.run_team(*self.arguments)
