"""What continues a prompt, and the session that turns a conversation into one."""
