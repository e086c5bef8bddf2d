"""The scheduler in virtual time: how long merge requests would wait with another pool. Pure.

``arrivals.py`` says what comes (a trace, or ``loads.py`` makes it up), ``run.py`` lets ``scheduler.plan()``
decide and time pass, ``figures.py`` says what came of it.
"""
