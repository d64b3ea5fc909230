"""What it costs that workers come together: the meetings inside a region, and a region that does nothing else."""

import numba

from . import problems

MEETINGS = 1000
number = 1
repeat = (5, 50, 0.5)
warmup_time = 0.1


class Team:
    """All threads of this machine; on one alone there is no region."""

    params = [0, MEETINGS]
    param_names = ("meetings",)

    def setup(self, meetings):
        if numba.config.NUMBA_NUM_THREADS == 1:
            raise NotImplementedError("this machine has 1 thread")
        with problems.skipping_older_commits():
            from fastml.kernels import jit, team

        workers = numba.config.NUMBA_NUM_THREADS
        self.team, together = team, team.team_of(workers)

        @numba.njit(**jit.OPTIONS)
        def meet_often(together, meetings, worker, workers):
            if team.assemble(together, workers):
                for _ in range(meetings):
                    team.meet(together, worker, workers)

        self.arguments = meet_often, together, workers, (together, meetings)
        self.time_region(meetings)

    def time_region(self, meetings):
        self.team.run_team(*self.arguments)
