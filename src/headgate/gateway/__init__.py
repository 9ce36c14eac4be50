"""The data plane: one coroutine per request, one verb per file.

    pipeline       the list of verbs, in order
    authenticate   bearer token -> principal
    admit          body -> checked request
    route          model name -> target
    attempt        send it, with its two journal records
    relay          pass the reply on
    pulse          comments for quiet streams
    list           the models a key may use

It knows its neighbours only as the Protocols in `core/ports.py`.
"""
