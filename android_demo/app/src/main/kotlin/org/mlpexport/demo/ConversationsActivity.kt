package org.mlpexport.demo

class ConversationsActivity : Screen()
