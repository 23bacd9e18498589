"""Messages to chats: one file per chat."""
