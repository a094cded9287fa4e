"""Background jobs to try and to copy; workers import this package, so it imports them all.

In development only: they let whoever may ask store files and send mail.
"""

from app.jobs import bulk_mail, countdown, exports, files, uploads

__all__ = ["bulk_mail", "countdown", "exports", "files", "uploads"]
